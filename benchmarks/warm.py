"""What a command finds ready: its files in the page cache, and memory at hand.

Both are done until they get no quicker. Once is not enough where the kernel takes cached pages back
by their age (DAMON reclaim, as in many virtual machines): by the end of a first, slow pass the
beginning may be gone again.
"""

import mmap
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.corpora import READ_BYTES, regular_files

PASSES_MAX = 4
GAIN = 0.8
"""A pass that takes more than this share of the one before found everything ready."""


def warm(root: Path) -> None:
    """Read every file below `root`."""
    _until_no_quicker(lambda: _read_all(root))


def claim_memory(size_bytes: int) -> None:
    """Have so much free memory ready for use, at most half of what is available.

    A virtual machine that reports free memory to its host (free page reporting) pays for each page
    that it takes again: 0.3 s a GB when the host left it there, 2 s when not. Whichever program
    came first would pay for the others.
    """
    size_bytes = min(size_bytes, _available_bytes() // 2)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    _until_no_quicker(lambda: mmap.mmap(-1, size_bytes, flags=flags).close())


def _until_no_quicker(work: Callable[[], None]) -> None:
    before_s = float("inf")
    for _ in range(PASSES_MAX):
        started = time.monotonic()
        work()
        took_s = time.monotonic() - started
        if took_s > GAIN * before_s:
            return
        before_s = took_s


def _read_all(root: Path) -> None:
    for path in regular_files(root):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024
