"""``twistd obnam-server`` that is killed at a chosen step of its own work, as by a power switch.

Run as ``python mortal_server.py WILL TWISTD-ARGUMENTS``. While there is a file at ``WILL``, it
says which step is the last: ``CONTEXT OPERATION COUNT``, such as ``upload rename 2``. The process
then kills itself right before the second rename that belongs to an upload; ``renamed`` is right
after it. Contexts: ``upload``, ``accept``, ``begin``, ``refer``, ``commit``. Operations: those of
`obnam_server.store.disk.files.IFiles`, and ``index``/``indexed``: before, and after, a transaction
of the index is committed.

With ``full`` before it, the disk has no room from that step on, until the file is removed.
"""

import errno
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

AFTER = {"rename": "renamed", "sync_directory": "directory_synced"}


class Fate:
    """Counts steps, and lets happen what the will says."""

    def __init__(self, will: Path) -> None:
        self._will = will
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._mine = threading.local()

    def step(self, operation: str) -> None:
        """The process is about to do this; perhaps for the last time."""
        name = f"{getattr(self._mine, 'context', 'upload')} {operation}"
        with self._lock:
            try:
                wanted, _, count = self._will.read_text().rpartition(" ")
            except FileNotFoundError:
                return
            self._counts[name] += 1
            if f"full {name}" == wanted and self._counts[name] >= int(count):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if name == wanted and self._counts[name] == int(count):
                self._will.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    def within(self, context: str, owner: Any, method: str) -> None:
        """Steps on this thread during ``method`` belong to ``context``."""
        original = getattr(owner, method)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._mine.context = context
            try:
                return original(*arguments, **named)
            finally:
                del self._mine.context

        setattr(owner, method, wrapped)

    def around(self, owner: Any, method: str, before: str, after: str | None) -> None:
        """``method`` is a step."""
        original: Callable[..., Any] = getattr(owner, method)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.step(before)
            result = original(*arguments, **named)
            if after is not None:
                self.step(after)
            return result

        setattr(owner, method, wrapped)


def main() -> None:
    """Patch the store's way to the disk; then be twistd."""
    from twisted.scripts.twistd import run

    from obnam_server.store.disk.database import Database
    from obnam_server.store.disk.files import LocalFiles
    from obnam_server.store.generations.commits import Generations
    from obnam_server.store.generations.sessions import Sessions
    from obnam_server.store.repository import RepositoryStore

    fate = Fate(Path(sys.argv.pop(1)))
    for operation in ("create", "append", "sync", "rename", "remove", "sync_directory"):
        fate.around(LocalFiles, operation, operation, AFTER.get(operation))
    # Most of a segment goes this way. What else is appended is less, the fewer uploads there are,
    # which is a matter of time.
    fate.around(LocalFiles, "append_direct", "append", None)
    fate.around(Database, "_commit", "index", "indexed")
    fate.within("accept", RepositoryStore, "accept")
    fate.within("begin", Sessions, "begin")
    fate.within("refer", Sessions, "refer")
    fate.within("commit", Generations, "commit")
    run()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
