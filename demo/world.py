"""A small world for the demonstration: one folder, the installed commands, one server."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from demo.telling import Teller

START_S = 30.0
"""A server that does not listen by then has failed."""

STOP_S = 30.0
"""A server finishes what is under way when it is asked to stop; by then it must have."""

MARK = "made-by-make-demo"
FOLDERS = ("server", "client", "restored")


class DemoFailed(Exception):
    """It did not go as it should; the text says what, and where to look."""


@dataclasses.dataclass(frozen=True)
class Ran:
    """A command that ended: its lines on standard output, its seconds, its exit code."""

    lines: list[str]
    took_s: float
    code: int

    def value(self, key: str) -> str:
        """From a line ``key: value``; empty when there is none."""
        found = [line for line in self.lines if line.startswith(f"{key}: ")]
        return found[-1].partition(": ")[2] if found else ""


class World:
    """The folder, and everything that is run in it."""

    def __init__(self, work: Path, commands: Path, teller: Teller) -> None:
        self.work = work.absolute()
        self._commands = commands.absolute()
        self._teller = teller
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def server_folder(self) -> Path:
        """All that the server keeps."""
        return self.work / "server" / "data"

    @property
    def restored(self) -> Path:
        """Where things are restored to."""
        return self.work / "restored"

    @property
    def _listening(self) -> Path:
        """What the server writes once it listens, and removes when it ends in order."""
        return self.server_folder / "listening.json"

    def make(self) -> None:
        """An empty folder; what an earlier demonstration left is removed, and nothing else."""
        if self.work.exists() and any(self.work.iterdir()) and not (self.work / MARK).exists():
            raise DemoFailed(f"{self.work} is not empty, and not from an earlier demonstration")
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / MARK).touch()
        for name in FOLDERS:
            shutil.rmtree(self.work / name, ignore_errors=True)
        (self.work / "server").mkdir()
        (self.work / "client").mkdir()

    def run(self, program: str, *words: str, shown: Sequence[str] | None = None) -> Ran:
        """Run an installed command to its end.

        ``shown`` stands for ``words`` in what is told. Raises `DemoFailed` when the command
        fails; 3 (done, with warnings) is for the caller to tell about.
        """
        self._teller.command([program, *(words if shown is None else shown)])
        started = time.monotonic()
        finished = subprocess.run(
            [self._commands / program, *words],
            cwd=self.work,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
        )
        took_s = time.monotonic() - started
        if finished.returncode == 3:
            self._teller.quote(finished.stderr.splitlines()[-10:])
        elif finished.returncode != 0:
            raise DemoFailed(
                f"{program} {words[-1] if words else ''} ended with {finished.returncode}:\n"
                f"{finished.stdout}{finished.stderr}"
            )
        return Ran(finished.stdout.splitlines(), took_s, finished.returncode)

    def start_server(self, configuration: Path) -> str:
        """Start twistd as a process of its own; the address that it listens on."""
        words = ["--nodaemon", "--pidfile=", "obnam-server", "--config", str(configuration)]
        self._teller.command(["twistd", *words[:-1], self.short(configuration)])
        with (self.work / "server" / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [self._commands / "twistd", *words],
                cwd=self.work,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: we end the server when we are done with it.
                start_new_session=True,
            )
        give_up = time.monotonic() + START_S
        while not self._listening.exists():
            if self._server.poll() is not None or time.monotonic() > give_up:
                text = (self.work / "server" / "log").read_text(errors="replace")
                raise DemoFailed(f"the server did not start:\n{text[-2000:]}")
            time.sleep(0.02)
        return str(json.loads(self._listening.read_text())["addresses"][0])

    def stop_server(self) -> bool:
        """End the server, if there is one. Did it end as it should?

        Asked by SIGTERM, twistd ends in order and then by that same signal.
        """
        server, self._server = self._server, None
        if server is None:
            return True
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            code = server.wait()
        return code in (0, -signal.SIGTERM) and not self._listening.exists()

    def short(self, path: Path) -> str:
        """A path in the folder as it is told to the reader."""
        return str(path.relative_to(self.work))

    def _environment(self) -> dict[str, str]:
        """The caller's, with nothing in it that leads out of the folder."""
        client = self.work / "client"
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "XDG_CONFIG_HOME": str(client / "config"),
            "XDG_CACHE_HOME": str(client / "cache"),
            "XDG_STATE_HOME": str(client / "state"),
            # The tree that is backed up may be the library that these programs are run by.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
