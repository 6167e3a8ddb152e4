"""Several names of one file are verified once.

Each has a row and extents of its own in the generation. Where these are the same, so is what would
come of checking them; where they are not, the file is checked again.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import xxhash
from attrs import define

from obnam.generation.local import LocalGeneration
from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind
from obnam.restore.notes import Notes
from obnam.restore.tree import Directory, Entries, Parts, Problem

NAMES_TOLD_MAX = 100
"""Names of damaged files that are told one by one: there may be a million."""

_EXTENT = struct.Struct("<qqqq")


@define
class EachFileOnce:
    """Leaves out files that were given before, by another name. ``names``: how many."""

    _generation: LocalGeneration
    _notes: Notes
    names: int = 0

    def of(
        self, entries: Iterator[Directory | Entries | Problem]
    ) -> Iterator[Directory | Entries | Problem]:
        """All that is left."""
        for each in entries:
            if isinstance(each, Entries) and any(row.device is not None for row in each.rows):
                yield each._replace(rows=[row for row in each.rows if self._is_new(each, row)])
            else:
                yield each

    def _is_new(self, each: Entries, row: EntryRow) -> bool:
        if row.device is None or row.kind != Kind.FILE or row.checksum is None:
            return True
        place = _place_of(row, self._generation)
        if place is None or self._notes.is_first(each.parts, row._replace(checksum=place)):
            return True
        self.names += 1
        return False


class DamagedNames(NamedTuple):
    """Other names of damaged files: how many, and the ``first`` of them, with the name that was
    checked.
    """

    total: int
    first: list[tuple[Parts, Parts]]


def damaged_names(notes: Notes) -> DamagedNames:
    """The names that were left out, of files that were noted as aside."""
    total = 0
    first: list[tuple[Parts, Parts]] = []
    for follower in notes.followers():
        if not follower.is_first_there:
            total += 1
            if total <= NAMES_TOLD_MAX:
                first.append(((*follower.parts, follower.name), follower.first))
    return DamagedNames(total, first)


def _place_of(row: EntryRow, generation: LocalGeneration) -> bytes | None:
    """Where the content lies, and its checksum, as one text; ``None``: that makes no sense,
    and is told by who looks at it more closely.
    """
    content = xxhash.xxh3_128(b"%r" % ((row.checksum, row.size, row.chunk, row.start),))
    if row.chunk is None and row.number is not None:
        end = 0
        try:
            for extent in generation.read_extents(row):
                content.update(_EXTENT.pack(*extent))
                if extent.position < end:
                    return None  # There might be no end of them.
                end = extent.position + extent.length
        except struct.error:
            return None
    return content.digest()
