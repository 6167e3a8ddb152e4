"""Settings of the C library and of Python's collector, for processes that move much data."""

import gc

MIB = 1 << 20

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Parameters of mallopt(3), as in glibc's malloc.h."""

REUSED_BYTES = 32 * MIB
"""Buffers up to this size (the largest that glibc takes) come from memory that was used before."""

KEPT_BYTES = 64 * MIB
"""Freed memory at the end of the heap that is kept for the next buffer."""

COLLECT_EVERY = 50_000
"""Objects made before Python looks for garbage in circles: by default it does so each 700, which
is in vain for rows by the thousand, since what we make is freed when it is no longer named."""


def reuse_buffers() -> None:
    """Keep freed memory for the next buffer, instead of giving it back to the kernel.

    By default each buffer of some hundred KiB is mapped anew, and the kernel clears every page of
    it: a third of all the processor time of an upload through a Unix socket. A C library without
    mallopt is left as it is.
    """
    import ctypes  # slow to import, and only for those who move data

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, REUSED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def collect_seldom() -> None:
    """Look for garbage seldom, and never among what is there now (all modules, say)."""
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 10)
    gc.enable()
