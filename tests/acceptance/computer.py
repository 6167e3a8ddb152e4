"""A computer with Obnam on it: a home of its own, and the installed commands as processes."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

COMMANDS = Path(sys.executable).parent
PATIENCE_S = 60.0

TWISTD = (str(COMMANDS / "twistd"), "--nodaemon", "--pidfile=")
"""How the server is run; ``obnam-server`` and its options come behind."""

# Root reads everything, whatever the permissions say; without these two capabilities it does not.
_AS_MORTAL = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@frozen
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed."""
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        """What it printed, decoded."""
        return json.loads(self.out)

    def value(self, key: str) -> str:
        """From a line ``key: value``."""
        found = [line.partition(": ")[2] for line in self.lines if line.startswith(f"{key}: ")]
        assert found, f"no {key!r} in {self.out!r}"
        return found[-1]

    @property
    def complaint(self) -> str:
        """The one line on standard error of a command that failed."""
        lines = [line for line in self.err.splitlines() if "trying again in" not in line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("obnam: ")
        return lines[0]


@frozen
class Computer:
    """All of it lies in ``folder``: configuration, cache, state, and ``live`` data."""

    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def new(cls, folder: Path, roots: Sequence[Path] | None = None, more: str = "") -> "Computer":
        """A computer whose configuration names ``live``, or ``roots``."""
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("XDG_", "PYTHON"))
        }
        computer = cls(folder, {**environment, "HOME": str(folder), "TZ": "UTC"})
        computer.live.mkdir(exist_ok=True)
        computer.configure(roots or [computer.live], more)
        return computer

    @property
    def live(self) -> Path:
        """What is backed up."""
        return self.folder / "live"

    @property
    def configuration(self) -> Path:
        """``obnam.yaml``."""
        return self.folder / ".config" / "obnam" / "obnam.yaml"

    @property
    def secrets(self) -> Path:
        """``secrets.yaml``."""
        return self.configuration.with_name("secrets.yaml")

    def configure(self, roots: Sequence[Path | str], more: str = "") -> None:
        """Write ``obnam.yaml``."""
        self.configuration.parent.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(f"roots: {json.dumps([str(r) for r in roots])}\n{more}")

    def start(self, *arguments: str, mortal: bool = False) -> "subprocess.Popen[str]":
        """Start ``obnam`` in the background."""
        return subprocess.Popen(
            self._command(arguments, mortal),
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )

    def obnam(self, *arguments: str, code: int = 0, mortal: bool = False) -> Done:
        """Run ``obnam``; it must end with ``code``, and never with a traceback.

        ``mortal``: without root's power to read what it may not.
        """
        process = self.start(*arguments, mortal=mortal)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        done = Done(process.returncode, out, err)
        assert "Traceback" not in err, err
        assert done.code == code, done
        return done

    def refused(self, *arguments: str, code: int = 2) -> str:
        """Run a command that fails: nothing on standard output; the line that says why."""
        done = self.obnam(*arguments, code=code)
        assert done.out == ""
        return done.complaint

    def backup(self, *options: str, code: int = 0, mortal: bool = False) -> Done:
        """``obnam backup``."""
        return self.obnam("backup", *options, code=code, mortal=mortal)

    def reasons(self, reference: str = "latest") -> dict[str, str]:
        """Path below ``live`` -> reason, as ``list-files`` prints them."""
        found = {}
        for line in self.obnam("list-files", reference).lines:
            path, _, reason = line[2:].rpartition(" ")
            found[path.removeprefix(str(self.live)).lstrip("/") or "."] = reason.strip("()")
        return found

    def restored(self, reference: str = "latest", *options: str, code: int = 0) -> Path:
        """Restore everything into a new directory; where ``live`` is in it."""
        target = self.folder / f"restored-{len(list(self.folder.glob('restored-*')))}"
        self.obnam("restore", reference, str(target), *options, code=code)
        return target / self.live.relative_to("/")

    def _command(self, arguments: Sequence[str], mortal: bool) -> list[str]:
        command = [str(COMMANDS / "obnam"), *arguments]
        if not mortal or os.geteuid() != 0:
            return command
        if shutil.which(_AS_MORTAL[0]) is None:
            pytest.skip("root reads everything, and there is no setpriv to take that from it")
        return [*_AS_MORTAL, *command]


def processes_of(computer: Computer) -> list[str]:
    """Command lines of the processes that run in this home."""
    found = []
    wanted = f"HOME={computer.folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # Gone, or somebody else's.
    return found


def tree(top: Path) -> dict[bytes, object]:
    """Everything below ``top``, and all that a restore must bring back of it."""
    root = os.fsencode(top)
    found: dict[bytes, object] = {b".": _described(root)}
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = _described(path)
    return found


def _described(path: bytes) -> object:
    status = os.lstat(path)
    content: object = None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    links = status.st_nlink if not stat.S_ISDIR(status.st_mode) else 0
    owner = (status.st_uid, status.st_gid)
    return (status.st_mode, owner, status.st_mtime_ns, links, content, attributes)
