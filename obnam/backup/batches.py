"""Groups files to read into batches that are worth a job. Pure.

Small files of one neighbourhood become a bundle; larger ones share a slab but are cut each by
itself; what fits into no slab goes alone. So 100,000 small files are about a hundred jobs.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from attrs import define, field, frozen

from obnam.backup.plan import Mark
from obnam.live.read import Identity
from obnam.pool.named import Group

BUNDLE_FILE_MAX = 128 * 1024
"""Files smaller than this (bytes) go into bundles: a chunk of their own would be tiny."""

BATCH_FILES_MAX = 2048
"""Files in one batch: beyond 1,024 there was no gain in speed."""


class Place(NamedTuple):
    """A directory with files to read, number, path, and identity as the scan saw it; and a mark.

    Files with another mark are, for a batch, in another place.
    """

    directory: int
    path: bytes
    identity: Identity
    mark: Mark


class Cut(Enum):
    """How the files of a batch are cut."""

    BUNDLE = "end to end, as one stream"
    EACH = "each by itself"
    PARTS = "one file, slab by slab"


@frozen
class Batch:
    """Files for one job (of ``PARTS``: for one job after another)."""

    cut: Cut
    groups: tuple[Group, ...]
    size_bytes: int
    file_count: int


@define
class _Open:
    """A batch that is being filled. ``place`` is that of the last group."""

    cut: Cut
    groups: list[Group] = field(factory=list)
    place: Place | None = None
    size_bytes: int = 0
    file_count: int = 0

    def names_in(self, place: Place) -> list[bytes]:
        """The names of the group of ``place``, to append to."""
        if place is not self.place:
            self.groups.append(_group(place, []))
            self.place = place
        return self.groups[-1].names

    def close(self) -> Batch | None:
        if not self.groups:
            return None
        batch = Batch(self.cut, tuple(self.groups), self.size_bytes, self.file_count)
        self.groups, self.place, self.size_bytes, self.file_count = [], None, 0, 0
        return batch


class Batches:
    """Fed files in the order of the scan, it says when a batch is full."""

    def __init__(self, slab_bytes: int) -> None:
        self._slab_bytes = slab_bytes
        self._bundle = _Open(Cut.BUNDLE)
        self._each = _Open(Cut.EACH)

    def add(self, place: Place, files: Iterable[tuple[bytes, int]]) -> Iterator[Batch]:
        """Take files of one directory, names and sizes in bytes; gives batches that are full.

        Files that are added one after another with the same place are one group. A loop without
        a call for each file: a first backup has a hundred thousand of them a second.
        """
        slab_bytes = self._slab_bytes
        for name, size_bytes in files:
            if size_bytes > slab_bytes:
                yield Batch(Cut.PARTS, (_group(place, [name]),), size_bytes, 1)
                continue
            batch = self._bundle if size_bytes < BUNDLE_FILE_MAX else self._each
            if (
                batch.size_bytes + size_bytes > slab_bytes or batch.file_count == BATCH_FILES_MAX
            ) and (full := batch.close()):
                yield full
            names = batch.groups[-1].names if batch.place is place else batch.names_in(place)
            names.append(name)
            batch.size_bytes += size_bytes
            batch.file_count += 1

    def rest(self) -> list[Batch]:
        """What is left, at the end of the scan."""
        return [batch for batch in (self._bundle.close(), self._each.close()) if batch]


def _group(place: Place, names: list[bytes]) -> Group:
    return Group(place.directory, place.path, place.identity, *place.mark, names)
