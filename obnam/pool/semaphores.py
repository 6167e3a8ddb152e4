"""The names of the semaphores that guard the pool's queues: Linux keeps each as a small file.

Workers find them by name, and what watches over them removes them even when the client is killed.
Only where that is killed, too, they stay; then a later command removes them.
"""

import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

from obnam.live.left_behind import Entry, remove_left_behind

SEMAPHORES = "/dev/shm"
"""Where they are; it may be full, too."""

_OURS = re.compile(r"sem\.obnam-(\d+)-.*")


def name_them() -> None:
    """From now on, this process's semaphores say whose they are.

    Python has no public way for that. Without the private one, nothing changes.
    """
    config: dict[str, Any] | None = getattr(multiprocessing.current_process(), "_config", None)
    if config is not None:
        config["semprefix"] = f"/obnam-{os.getpid()}"


def remove_semaphores_left(now_s: float, directory: Path = Path(SEMAPHORES)) -> None:
    """Remove those of processes that are no more, ``now_s`` after the epoch."""
    remove_left_behind(directory, now_s, _is_of_the_dead, os.unlink)


def _is_of_the_dead(entry: Entry) -> bool:
    named = _OURS.fullmatch(entry.name)
    return named is not None and not Path("/proc", named[1]).exists()
