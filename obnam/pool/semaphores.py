"""The names of the semaphores that guard the pool's queues: Linux keeps each as a small file.

Workers find them by name, and what watches over them removes them even when the client is killed.
Only where that is killed, too, they stay; then a later command removes them.
"""

import multiprocessing
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

SEMAPHORES = "/dev/shm"
"""Where they are; it may be full, too."""

LEFT_BEHIND_S = 86_400.0
"""How old one must be to be removed: a process may live where we cannot see it, but not so long
before it has started its workers."""

_OURS = re.compile(r"sem\.obnam-(\d+)-.*")


def name_them() -> None:
    """From now on, this process's semaphores say whose they are.

    Python has no public way for that. Without the private one, nothing changes.
    """
    config: dict[str, Any] | None = getattr(multiprocessing.current_process(), "_config", None)
    if config is not None:
        config["semprefix"] = f"/obnam-{os.getpid()}"


def remove_left_behind(now_s: float, directory: Path = Path(SEMAPHORES)) -> None:
    """Remove what processes have left that are no more, ``now_s`` after the epoch."""
    # Which cannot be looked at is left where it is: nothing depends on it.
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            named = _OURS.fullmatch(entry.name)
            if named and _is_left(entry, named[1], now_s):
                os.unlink(entry.path)


def _is_left(entry: "os.DirEntry[str]", process: str, now_s: float) -> bool:
    status = entry.stat(follow_symlinks=False)
    is_old = now_s - status.st_mtime > LEFT_BEHIND_S
    return is_old and status.st_uid == os.geteuid() and not Path("/proc", process).exists()
