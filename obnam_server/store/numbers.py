"""Who gives numbers to segments and chunks.

A chunk's number is written into its segment's trailer before the index hears of it. So that every
trailer and every chunk set of a repository agree on it, a number given is remembered here until
the index knows it, and whoever needs a number for the same id meanwhile gets the same.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen

from obnam.model.ids import ChunkId
from obnam_server.store.interfaces import ChunkNumber, IIndex, SegmentNumber


@frozen
class Given:
    """Numbers of some ids; ``unknown``: those that the index did not know before."""

    numbers: Mapping[ChunkId, ChunkNumber]
    unknown: Sequence[ChunkId]


@define
class _Pending:
    number: ChunkNumber
    holders: int


@define(eq=False)
class Numbers:
    """The numbers of one repository. Any thread."""

    _index: IIndex
    _next_segment: SegmentNumber
    _next_chunk: ChunkNumber
    _pending: dict[ChunkId, _Pending] = field(init=False, factory=dict)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def new_segment(self) -> SegmentNumber:
        """A number for a segment that is about to be finished."""
        with self._lock:
            number = self._next_segment
            self._next_segment = SegmentNumber(number + 1)
            return number

    def give(self, ids: Iterable[ChunkId]) -> Given:
        """The numbers of ``ids``. The unknown ones are held until they are released."""
        wanted = list(dict.fromkeys(ids))
        # Under the lock, for a number leaves `_pending` only when the index has it.
        with self._lock:
            numbers = dict(self._index.numbers(wanted))
            unknown = [chunk_id for chunk_id in wanted if chunk_id not in numbers]
            for chunk_id in unknown:
                pending = self._pending.get(chunk_id)
                if pending is None:
                    pending = _Pending(self._next_chunk, 0)
                    self._next_chunk = ChunkNumber(self._next_chunk + 1)
                    self._pending[chunk_id] = pending
                pending.holders += 1
                numbers[chunk_id] = pending.number
        return Given(numbers, unknown)

    def release(self, given: Given) -> None:
        """The index knows these now, or nothing that is durable has them any more."""
        with self._lock:
            for chunk_id in given.unknown:
                pending = self._pending[chunk_id]
                pending.holders -= 1
                if not pending.holders:
                    del self._pending[chunk_id]

    def next_numbers(self) -> tuple[SegmentNumber, ChunkNumber]:
        """The lowest never given."""
        with self._lock:
            return self._next_segment, self._next_chunk
