"""What is damaged, written down where no index can lose it, and who needs it.

The index knows damaged chunks. So that they are known after it was made anew, and are not taken
for good because their segment lists them, they also stand in segments of kind damage. Such a
record also keeps the number of a chunk whose segment is gone: sent again, the chunk gets it
back, and every generation that needs it is whole again. See ``docs/format/segment.md``.
"""

import struct
from collections.abc import Callable, Sequence

from attrs import frozen
from pyroaring import BitMap64

from obnam.model.ids import CHUNK_ID_BYTES, ChunkId, GenerationId
from obnam.wire.damage import DAMAGE_GENERATIONS_MAX, DamagedChunk, DamagePage
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import ChunkNumber, Damage, SegmentNumber
from obnam_server.store.segments.format import Entry, SegmentKind, name_of, part_id
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import (
    RepositoryHome,
    known_or_gone,
    read_entry,
    read_trailer,
    write_parts,
)

DAMAGE = part_id("damage")

RECORDS_MAX = 65_536
"""Chunks in one segment of kind damage (3.2 MB)."""

_RECORD = struct.Struct(f">{CHUNK_ID_BYTES}sQQ")
_UNKNOWN = SegmentNumber(0)


@frozen
class DamageRecords:
    """The segments that say what is damaged in one repository."""

    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _clock: Callable[[], int]

    def record(self) -> None:
        """WRITER. Write down what is damaged and not recorded yet. `StoreFull`, `StoreFailed`."""
        while found := self._index.unrecorded(RECORDS_MAX):
            now_ns = self._clock()
            written = write_parts(
                self._home,
                SegmentKind.DAMAGE,
                self._numbers.new_segment(),
                now_ns,
                {DAMAGE: _encode(found)},
            )
            with known_or_gone(written), self._index.transaction(durable=True):
                self._index.put_segment(written.summary, SegmentKind.DAMAGE, now_ns)
                self._index.put_recorded(written.summary.segment, [each.number for each in found])
                self._index.put_next_numbers(*self._numbers.next_numbers())

    def tidy(self) -> None:
        """WRITER. Remove the records of what is not damaged any more. `StoreFailed`.

        A record stays as long as something in it is damaged, or would be taken for good again
        because the segment with the damaged copy is still there.
        """
        gone = [
            segment
            for segment in self._index.segments_of(SegmentKind.DAMAGE)
            if not self._index.recording(segment) and not self._keeps_out(segment)
        ]
        if not gone:
            return
        with self._index.transaction(durable=True):
            for segment in gone:
                self._index.forget_segment(segment)
        for segment in gone:
            self._home.segments.delete(self._home.name, [segment])

    def _keeps_out(self, segment: SegmentNumber) -> bool:
        try:
            found = read_damage(self._home, segment, read_trailer(self._home, segment)[1])
        except DamagedSegment:
            # Of use to nobody: what it said, and is still so, is recorded anew.
            return False
        stored = self._index.stored_numbers([each.chunk_id for each in found])
        copies = {each.segment for each in found if each.chunk_id not in stored}
        return any(
            copy is not None and self._index.segment_kind(copy) is not None for copy in copies
        )

    def forget(self, segment: SegmentNumber) -> None:
        """WRITER. A record is damaged itself: write down anew what it said, and remove it."""
        with self._index.transaction(durable=True):
            self._index.put_unrecorded(segment)
        self.record()
        with self._index.transaction(durable=True):
            self._index.forget_segment(segment)
        self._home.segments.delete(self._home.name, [segment])


def read_damage(
    home: RepositoryHome, segment: SegmentNumber, entries: Sequence[Entry]
) -> list[Damage]:
    """What a segment records. `DamagedSegment`."""
    for entry in entries:
        if entry.chunk_id == DAMAGE and entry.length % _RECORD.size == 0:
            return _decode(read_entry(home, segment, entry))
    raise DamagedSegment(name_of(segment), "is no record of damage")


def _encode(found: Sequence[Damage]) -> bytes:
    return b"".join(
        _RECORD.pack(each.chunk_id, each.number, each.segment or _UNKNOWN) for each in found
    )


def _decode(content: bytes) -> list[Damage]:
    return [
        Damage(ChunkId(chunk_id), ChunkNumber(number), SegmentNumber(segment) or None)
        for chunk_id, number, segment in _RECORD.iter_unpack(content)
    ]


def needed(index: IIndex, first: int, limit: int) -> DamagePage:
    """The damaged chunks that generations need, a page of them, from the number ``first`` on.

    Generations in the trash are left out.
    """
    found = index.damaged(ChunkNumber(first), limit)
    generations: dict[int, list[GenerationId]] = {number: [] for number, _ in found}
    counts = dict.fromkeys(generations, 0)
    wanted = BitMap64(generations)
    if wanted:
        for generation, numbers in index.listed_sets():
            for number in wanted & numbers:
                counts[number] += 1
                if len(generations[number]) < DAMAGE_GENERATIONS_MAX:
                    generations[number].append(generation)
    chunks = [
        DamagedChunk(chunk_id, tuple(generations[number]), counts[number])
        for number, chunk_id in found
        if counts[number]
    ]
    return DamagePage(tuple(chunks), found[-1][0] + 1 if len(found) == limit else None)
