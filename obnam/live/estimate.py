"""About how much there is to read: for a progress display, and to have workers ready. Blocks."""

import os
from collections.abc import Callable, Iterator, Sequence

MUCH_BYTES = 32 << 20
MUCH_ENTRIES = 500
"""What one process reads and seals in about the time in which workers can be started."""


def estimate_bytes(
    roots: Sequence[bytes], since_ns: int, is_over: Callable[[], bool]
) -> int | None:
    """The bytes in all files below ``roots`` that were changed since (ns since the epoch).

    What cannot be looked at counts as nothing: the backup will tell of it. ``is_over`` is asked
    for each of them; once it is true, the answer is ``None``.
    """
    total = 0
    for size_bytes in _sizes(roots, since_ns):
        if is_over():
            return None
        total += size_bytes
    return total


def is_much(roots: Sequence[bytes]) -> bool:
    """Whether there is so much below ``roots`` that workers for it are worth their start.

    Looks at `MUCH_ENTRIES` files and directories at most.
    """
    total = 0
    for count, size_bytes in enumerate(_sizes(roots, since_ns=0)):
        total += size_bytes
        if count >= MUCH_ENTRIES or total >= MUCH_BYTES:
            return True
    return False


def _sizes(roots: Sequence[bytes], since_ns: int) -> Iterator[int]:
    """For each directory 0, and for each file its bytes if it was changed since, or else 0."""
    waiting = list(roots)
    while waiting:
        yield 0
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield status.st_size if status.st_ctime_ns >= since_ns else 0
        except OSError:
            continue  # It vanished, or may not be read: an estimate can do without.
