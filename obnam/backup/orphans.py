"""Hard links whose first name was not what it had been when it was read.

Of several names of a file the first is read, for all of them. It may be deleted, or renamed over,
between the scan and that. Then the others are read, each by itself: they are still there.
"""

import os
from collections.abc import Iterable, Iterator

from obnam.backup.batches import Batch, Batches, Place
from obnam.backup.plan import Mark
from obnam.generation.rows import Orphan
from obnam.live.read import Identity, identity_of, open_directory

_UNKNOWN: Identity = (-1, -1)
"""Of a directory that cannot be opened: whoever reads what is in it will say why."""


def batches_of(orphans: Iterable[Orphan], slab_bytes: int) -> Iterator[Batch]:
    """Batches to read, on the thread that may block."""
    batches = Batches(slab_bytes)
    for orphan in orphans:
        identity, size_bytes = _look_at(orphan)
        place = Place(orphan.directory, orphan.path, identity, Mark(orphan.reason, orphan.since))
        yield from batches.add(place, [(orphan.name, size_bytes)])
    yield from batches.rest()


def _look_at(orphan: Orphan) -> tuple[Identity, int]:
    """Its directory, and its size in bytes."""
    identity, size_bytes = _UNKNOWN, 0
    try:
        descriptor = open_directory(orphan.path)
        try:
            identity = identity_of(os.fstat(descriptor))
            size_bytes = os.stat(orphan.name, dir_fd=descriptor, follow_symlinks=False).st_size
        finally:
            os.close(descriptor)
    except OSError:
        pass  # Told by whoever reads it, or, if it is gone, by nobody.
    return identity, size_bytes
