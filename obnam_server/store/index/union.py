"""The union of all generations' chunk sets, kept in memory from one question to the next.

Read from the index it is the work of seconds when there are many generations, and collection asks
for it at each step. It grows with each commit; once a generation is gone it is made anew.
"""

import threading
from struct import Struct

from attrs import define, field
from pyroaring import BitMap, BitMap64

from obnam_server.store.disk.database import Database, database_errors

_GATHERED_BYTES = 4 << 20
"""Serialized sets whose union is made at once."""

_HEAD = Struct("<QI")
"""How a 64-bit set begins: the number of 32-bit sets in it, and the upper half of the first one's
numbers; the first one follows (https://github.com/RoaringBitmap/RoaringFormatSpec)."""


@define
class Gathered:
    """A union that serialized 64-bit sets are added to.

    Nearly all sets have one 32-bit set inside, and of many of those the union is made five times
    as fast as of the 64-bit ones one after another.
    """

    _numbers: BitMap64
    _by_upper_half: dict[int, list[BitMap]] = field(init=False, factory=dict)
    _size_bytes: int = field(init=False, default=0)

    def add(self, serialized: bytes) -> None:
        """Add a set."""
        count, upper_half = 0, 0
        if len(serialized) > _HEAD.size:
            count, upper_half = _HEAD.unpack_from(serialized)
        if count != 1:
            self._numbers |= BitMap64.deserialize(serialized)
            return
        inner = BitMap.deserialize(serialized[_HEAD.size :])
        self._by_upper_half.setdefault(upper_half, []).append(inner)
        self._size_bytes += len(serialized)
        if self._size_bytes >= _GATHERED_BYTES:
            self._unite()

    def all(self) -> BitMap64:
        """The union of all."""
        self._unite()
        return self._numbers

    def _unite(self) -> None:
        for upper_half, sets in self._by_upper_half.items():
            united = _HEAD.pack(1, upper_half) + BitMap.union(*sets).serialize()
            self._numbers |= BitMap64.deserialize(united)
        self._by_upper_half.clear()
        self._size_bytes = 0


@define(eq=False)
class GenerationUnion:
    """Of all generations up to one. Any thread.

    ``_through``: the sequence number of the last one in it. ``_there``: how many there were up to
    it, and the sum of their sequence numbers: as long as these are the same, none is gone, for no
    number is ever given twice.
    """

    _database: Database
    _numbers: BitMap64 = field(init=False, factory=BitMap64)
    _through: int = field(init=False, default=0)
    _there: tuple[int, int] = field(init=False, default=(0, 0))
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def get(self, since: int) -> BitMap64:
        """The numbers of the chunks of all generations from a sequence number on.

        The caller's to change.
        """
        if since > 1 or self._database.get().in_transaction:
            # The latter may be undone, and its sequence numbers given to others: it is not kept.
            return self._read(since, BitMap64())[0]
        # What is counted and what is read is of one moment.
        with self._lock, self._database.reading():
            if self._count() != self._there:
                self._numbers, self._through = BitMap64(), 0
            # On a copy: an error in the middle must not leave half of it.
            self._numbers, last = self._read(self._through + 1, BitMap64(self._numbers))
            self._through = max(self._through, last)
            self._there = self._count()
            return BitMap64(self._numbers)

    def _read(self, since: int, numbers: BitMap64) -> tuple[BitMap64, int]:
        """``numbers`` with the sets of generations since then; the last one's sequence number."""
        last = 0
        gathered = Gathered(numbers)
        with database_errors(self._database.path):
            for sequence, chunks in self._database.get().execute(
                "SELECT sequence, chunks FROM generations WHERE sequence >= ? ORDER BY sequence",
                (since,),
            ):
                gathered.add(chunks)
                last = sequence
        return gathered.all(), last

    def _count(self) -> tuple[int, int]:
        row = self._database.get().execute(
            "SELECT count(*), coalesce(sum(sequence), 0) FROM generations "
            "INDEXED BY generations_listed WHERE sequence <= ?",
            (self._through,),
        )
        count, total = row.fetchone()
        return count, total
