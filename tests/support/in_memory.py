"""Where a sync takes no time: for tests whose subject is not the disk, most of all of the store.

The day of a store has dozens of syncs. What is asked of a disk, and in which order, is seen by
`tests.support.traced_disk` and `tests.support.recorded_disk`, wherever it lies.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

SHARED = Path("/dev/shm")
ROOM_BYTES = 256 << 20
"""More than all that two tests at once have there. Containers often have less."""


def has_room() -> bool:
    """Whether there is such a place here."""
    if not os.access(SHARED, os.W_OK):
        return False
    found = os.statvfs(SHARED)
    return found.f_bavail * found.f_frsize >= ROOM_BYTES


MEMORY = SHARED if has_room() else None
"""For ``dir`` of `tempfile`: where there is none, tests work on the disk, and are slower."""


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A directory, for a while."""
    with TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In the place of pytest's own, where a ``conftest.py`` imports it."""
    with folder_in_memory() as folder:
        yield folder
