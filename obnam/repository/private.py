"""The directory of an embedded server's socket: made for one command, and gone with it.

The client removes it, or else the server, which sees its client die. When both are killed, a later
command does: a lock says whether one of the two still lives.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from obnam.errors import EmbeddedServerFailed
from obnam.live.left_behind import Entry, remove_left_behind
from obnam.wire.limits import SOCKET_PATH_MAX

PREFIX = "obnam-"
LOCK = "lock"


@frozen
class PrivateDirectory:
    """``lock``: a descriptor; whoever has it open, by inheritance too, needs the directory."""

    path: Path
    lock: int

    def remove(self) -> None:
        """Remove it; harmless when the server was faster. To be called once."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_private(data_directory: Path, parents: Sequence[Path], now_s: float) -> PrivateDirectory:
    """A new directory that only we can enter, with room for a socket's name.

    In the first of ``parents`` where its path is short enough; those that nobody needs any more
    are removed there. ``data_directory`` is for the error's message: `EmbeddedServerFailed`.
    """
    problem = "there is no directory for its socket"
    for parent in parents:
        try:
            remove_directories_left(parent, now_s)
            private = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
        except OSError as error:
            problem = f"no directory for its socket can be made in {parent}: {error.strerror}"
            continue
        if len(os.fsencode(private / "socket")) <= SOCKET_PATH_MAX:
            return PrivateDirectory(private, _locked(private))
        private.rmdir()
        problem = f"the path of {parent} is too long for a socket; set TMPDIR to a shorter one"
    raise EmbeddedServerFailed(str(data_directory), problem)


def remove_directories_left(parent: Path, now_s: float) -> None:
    """Remove those in which nobody lives, ``now_s`` after the epoch."""
    remove_left_behind(parent, now_s, _is_private, _remove_unless_locked)


def _is_private(entry: Entry) -> bool:
    return entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)


def _remove_unless_locked(entry: Entry) -> None:
    private = Path(entry.path)
    try:
        lock = os.open(private / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        # Made, and left at once, if there is nothing in it; or else it is something else.
        with suppress(OSError):
            private.rmdir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(private, ignore_errors=True)
    except BlockingIOError:
        pass  # somebody lives there
    finally:
        os.close(lock)


def _locked(private: Path) -> int:
    lock = os.open(private / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock
