"""The demonstration: a real server, a backup, another, a restore, and a comparison of it all."""

import argparse
import mmap
import os
import signal
import sys
import sysconfig
import time
from pathlib import Path

from demo.compare import Comparison, compare
from demo.telling import Teller, rate, scaled
from demo.world import DemoFailed, Ran, World

SHOWN_DIFFERENCES = 20
PEEKED_NAMES = 200
PEEKED_NAME_MIN = 12
"""Shorter names (bytes) could be in sealed data by chance."""

PEEKED_CONTENT = 48
"""Bytes from the middle of a file that are looked for in what the server keeps."""


def main() -> int:
    """Run it. 0: every file came back as it was."""
    options = _options()
    teller = Teller()
    world = World(options.work, options.commands, teller)
    # Asked to end, end the server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _Demonstration(world, teller, options.directory.absolute()).run()
    except DemoFailed as error:
        teller.wrong(f"The demonstration failed: {error}")
        return 1
    except KeyboardInterrupt:
        teller.wrong("Interrupted.")
        return 130
    finally:
        world.stop_server()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--commands", type=Path, required=True, help="folder of obnam and twistd")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=Path(sysconfig.get_path("stdlib")),
        help="what to back up (the Python standard library)",
    )
    return parser.parse_args()


class _Demonstration:
    def __init__(self, world: World, teller: Teller, directory: Path) -> None:
        self._world = world
        self._teller = teller
        self._directory = directory
        self._config = world.work / "client" / "obnam.yaml"
        self._server_config = world.work / "server" / "server.yaml"

    def run(self) -> int:
        self._prepare()
        self._start_server()
        self._join()
        since_ns = time.time_ns()
        first = self._back_up("Back it up")
        kept_bytes = _sealed(self._world.server_folder)
        second = self._back_up("Back it up again: nothing has changed")
        self._look(second.value("generation-id"))
        restored = self._restore()
        found, compared_s = self._compare(since_ns)
        peeked = self._peek()
        self._stop()
        self._sum_up(first, second, restored, found, compared_s, kept_bytes)
        return self._verdict(found, peeked)

    def _prepare(self) -> None:
        directory, work = self._directory, self._world.work
        if not directory.is_dir():
            raise DemoFailed(f"{directory} is not a directory")
        if work.resolve().is_relative_to(directory.resolve()):
            raise DemoFailed(
                f"{work}, where the demonstration works, is inside {directory}; "
                f"choose another place: make demo DIR=… WORK=…"
            )
        self._world.make()
        self._teller.title(f"Obnam backs up {directory}, gets it back, and compares.")
        self._teller.say(f"Everything it makes is in {work}")

    def _start_server(self) -> None:
        self._teller.step("Start a chunk server")
        self._server_config.write_text(
            "data_directory: data\n"
            "listen:\n"
            '- "tcp:0:interface=127.0.0.1"  # a free port, on this computer only\n'
        )
        started = time.monotonic()
        address = self._world.start_server(self._server_config)
        took_s = time.monotonic() - started
        self._teller.say(f"listens on {address}, with a certificate that it made", took_s)

    def _join(self) -> None:
        self._teller.step("Invite this computer, and accept")
        server = ["--config", self._world.short(self._server_config)]
        invited = self._world.run("obnam-server", *server, "client", "add", "laptop")
        invitation = invited.lines[-1]
        self._teller.say("one line: the address, a one-time code, the certificate's fingerprint")
        self._config.write_text(f"roots:\n- {self._quoted()}\nexclude_cache_tag_directories: no\n")
        joined = self._obnam("init", invitation, "--no-passphrase", shown=("INVITATION",))
        self._teller.say("this computer has a token, and keys that the server never sees")
        self._teller.quote(joined.lines[-3:])

    def _back_up(self, title: str) -> Ran:
        self._teller.step(title)
        ran = self._obnam("backup")
        self._teller.quote(ran.lines[-5:])
        files = float(ran.value("file-count") or 0)
        self._teller.say(rate(files, ran.took_s, "entries"), ran.took_s)
        return ran

    def _look(self, generation: str) -> None:
        self._teller.step("See what is there")
        self._teller.quote(self._obnam("list").lines[-4:])
        listed = self._obnam("list-files", generation)
        self._teller.quote(listed.lines[:5])
        self._teller.say(f"… {len(listed.lines):,} lines", listed.took_s)

    def _restore(self) -> Ran:
        self._teller.step("Get it all back")
        ran = self._obnam("restore", "latest", self._world.short(self._world.restored))
        self._teller.say("restored, each file checked against its checksum", ran.took_s)
        return ran

    def _compare(self, since_ns: int) -> tuple[Comparison, float]:
        self._teller.step("Compare every file with what was restored")
        started = time.monotonic()
        top = self._world.restored / self._directory.relative_to("/")
        found = compare(os.fsencode(self._directory), os.fsencode(top), since_ns)
        took_s = time.monotonic() - started
        self._teller.say(
            f"{found.entries:,} entries: content, mode, owner, mtime (ns), attributes, links",
            took_s,
        )
        self._teller.say(
            f"among them {found.files:,} files, {found.links:,} symbolic links, "
            f"{found.hard_links:,} hard links, {found.attributes:,} attributes"
        )
        if os.geteuid() != 0:
            self._teller.careful("only root may give files away: owners of others' were left out")
        if found.unreadable:
            self._teller.careful(f"{found.unreadable:,} that this user may not read were left out")
        return found, took_s

    def _peek(self) -> list[str]:
        """Look for names and content of live data in all that the server keeps."""
        self._teller.step("Look over the server's shoulder")
        secrets = _secrets(os.fsencode(self._directory))
        seen: list[str] = []
        files = [path for path in self._world.server_folder.rglob("*") if path.is_file()]
        for path in files:
            if not path.stat().st_size:
                continue
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as kept,
            ):
                seen.extend(ascii(each) for each in secrets if kept.find(each) >= 0)
        self._teller.say(
            f"looked for {len(secrets)} names and contents in all {len(files)} files that it "
            f"keeps: {len(seen) or 'none'} found"
        )
        return seen

    def _stop(self) -> None:
        if not self._world.stop_server():
            raise DemoFailed(f"the server did not end well; see {self._world.work}/server/log")

    def _sum_up(
        self,
        first: Ran,
        second: Ran,
        restored: Ran,
        found: Comparison,
        compared_s: float,
        kept_bytes: int,
    ) -> None:
        self._teller.title("In short")
        for name, took_s in (
            ("first backup", first.took_s),
            ("second backup", second.took_s),
            ("restore", restored.took_s),
            ("comparison", compared_s),
        ):
            self._teller.row(
                name,
                f"{took_s:.2f} s",
                rate(found.size_bytes, took_s, "B"),
                rate(found.entries, took_s, "entries"),
            )
        share = 100 * kept_bytes / max(found.size_bytes, 1)
        grown = _sealed(self._world.server_folder) - kept_bytes
        self._teller.row("live data", scaled(found.size_bytes, "B"))
        self._teller.row("kept by the server", scaled(kept_bytes, "B"), f"{share:.0f} % of it")
        self._teller.row("… for the second", scaled(grown, "B"), "more")

    def _verdict(self, found: Comparison, peeked: list[str]) -> int:
        if found.differences:
            self._teller.wrong(f"{len(found.differences)} differences:")
            for difference in found.differences[:SHOWN_DIFFERENCES]:
                self._teller.say(difference)
            if len(found.differences) > SHOWN_DIFFERENCES:
                self._teller.say("…")
            self._teller.say(f"What was restored is in {self._world.restored}")
            return 1
        if peeked:
            self._teller.wrong(f"The server has in clear: {', '.join(peeked[:5])}")
            return 1
        if not found.entries:
            self._teller.wrong("Nothing was compared.")
            return 1
        self._teller.well(f"All {found.entries:,} entries came back exactly as they were.")
        return 0

    def _obnam(self, command: str, *words: str, shown: tuple[str, ...] | None = None) -> Ran:
        before = ("--config", self._world.short(self._config), command)
        told = None if shown is None else (*before, *shown)
        return self._world.run("obnam", *before, *words, shown=told)

    def _quoted(self) -> str:
        """The directory as a YAML string."""
        text = str(self._directory)
        if not text.isprintable():
            raise DemoFailed("the name of the directory has characters that do not print")
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _sealed(folder: Path) -> int:
    """Bytes in segments, which hold all that was sent."""
    return sum(path.stat().st_size for path in folder.rglob("segments/**/*") if path.is_file())


def _secrets(directory: bytes) -> list[bytes]:
    """Some names, and some content, that nobody but the client should see."""
    found: list[bytes] = []
    for path, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            full = os.path.join(path, name)
            if len(name) >= PEEKED_NAME_MIN:
                found.append(name)
            if os.path.isfile(full) and not os.path.islink(full) and os.access(full, os.R_OK):
                with open(full, "rb") as file:
                    file.seek(os.path.getsize(full) // 2)
                    content = file.read(PEEKED_CONTENT)
                if len(content) == PEEKED_CONTENT and len(set(content)) > PEEKED_CONTENT // 4:
                    found.append(content)
            if len(found) >= PEEKED_NAMES:
                return found
    return found
