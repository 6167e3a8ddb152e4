"""About how much there is to read: for a progress display, and for nothing else. Blocks."""

import os
from collections.abc import Callable, Sequence


def estimate_bytes(
    roots: Sequence[bytes], since_ns: int, is_over: Callable[[], bool]
) -> int | None:
    """The bytes in all files below ``roots`` that were changed since (ns since the epoch).

    What cannot be looked at counts as nothing: the backup will tell of it. ``is_over`` is asked
    for each directory; once it is true, the answer is ``None``.
    """
    total = 0
    waiting = list(roots)
    while waiting:
        if is_over():
            return None
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        if status.st_ctime_ns >= since_ns:
                            total += status.st_size
        except OSError:
            continue  # It vanished, or may not be read: an estimate can do without.
    return total
