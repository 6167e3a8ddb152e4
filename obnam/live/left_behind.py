"""What processes that were killed left in a directory that others use, too."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LEFT_BEHIND_S = 86_400.0
"""How old something must be to be removed: a process may live where we cannot see it, but after a
day it shows by other signs that it does, or has long ended."""

Entry = os.DirEntry[str]


def remove_left_behind(
    directory: Path, now_s: float, is_left: Callable[[Entry], bool], remove: Callable[[Entry], None]
) -> None:
    """Call ``remove`` for what is ours in ``directory``, a day old, and said to be left.

    ``now_s``: s since the epoch. Ours is what belongs to the user that we run as.
    """
    # What cannot be looked at, or removed, is left where it is: nothing depends on it.
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if is_left(entry) and _is_ours_and_old(entry, now_s):
                remove(entry)


def _is_ours_and_old(entry: Entry, now_s: float) -> bool:
    status = entry.stat(follow_symlinks=False)
    return status.st_uid == os.geteuid() and now_s - status.st_mtime > LEFT_BEHIND_S
