"""Who gives numbers to segments and chunks.

A chunk's number is written into its segment's trailer before the index hears of it. So that every
trailer and every chunk set of a repository agree on it, a number given is remembered here until
the index knows it, and whoever needs a number for the same id meanwhile gets the same.

A number that is being used is held, known to the index or not, so that its chunk is not collected
meanwhile. `Numbers.reliance` is held while somebody looks up which chunks there are and notes
that he relies on them, and while chunks are removed: none is removed between the two.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen
from pyroaring import BitMap64

from obnam.model.ids import ChunkId
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import ChunkNumber, SegmentNumber


@frozen
class Given:
    """Numbers of some ids; ``unknown``: those that the index did not know before."""

    numbers: Mapping[ChunkId, ChunkNumber]
    unknown: Sequence[ChunkId]


@define
class _Held:
    number: ChunkNumber
    holders: int


@define(eq=False)
class Numbers:
    """The numbers of one repository. Any thread."""

    _index: IIndex
    _next_segment: SegmentNumber
    _next_chunk: ChunkNumber
    reliance: threading.RLock = field(init=False, factory=threading.RLock)
    _held: dict[ChunkId, _Held] = field(init=False, factory=dict)

    def new_segment(self) -> SegmentNumber:
        """A number for a segment that is about to be finished."""
        with self.reliance:
            number = self._next_segment
            self._next_segment = SegmentNumber(number + 1)
            return number

    def give(self, ids: Iterable[ChunkId]) -> Given:
        """The numbers of ``ids``. They are held until they are released."""
        wanted = list(dict.fromkeys(ids))
        unknown = []
        # Under the lock, for a number is let go only when the index has it.
        with self.reliance:
            numbers = dict(self._index.numbers(wanted))
            for chunk_id in wanted:
                held = self._held.get(chunk_id)
                if chunk_id not in numbers:
                    unknown.append(chunk_id)
                    numbers[chunk_id] = self._next_chunk if held is None else held.number
                if held is None:
                    held = self._held[chunk_id] = _Held(numbers[chunk_id], 0)
                    self._next_chunk = max(self._next_chunk, ChunkNumber(held.number + 1))
                held.holders += 1
        return Given(numbers, unknown)

    def release(self, given: Given) -> None:
        """The index knows these now, or nothing that is durable has them any more."""
        with self.reliance:
            for chunk_id in given.numbers:
                held = self._held[chunk_id]
                held.holders -= 1
                if not held.holders:
                    del self._held[chunk_id]

    def held(self) -> BitMap64:
        """Numbers that are being used just now."""
        with self.reliance:
            return BitMap64(held.number for held in self._held.values())

    def next_numbers(self) -> tuple[SegmentNumber, ChunkNumber]:
        """The lowest never given."""
        with self.reliance:
            return self._next_segment, self._next_chunk
