"""The union of all generations' chunk sets, kept in memory from one question to the next.

Read from the index it is the work of seconds when there are many generations, and collection asks
for it at each step. It grows with each commit; once a generation is gone it is made anew.
"""

import threading

from attrs import define, field
from pyroaring import BitMap64

from obnam_server.store.database import Database, database_errors


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
        with database_errors(self._database.path):
            for sequence, chunks in self._database.get().execute(
                "SELECT sequence, chunks FROM generations WHERE sequence >= ? ORDER BY sequence",
                (since,),
            ):
                numbers |= BitMap64.deserialize(chunks)
                last = sequence
        return numbers, last

    def _count(self) -> tuple[int, int]:
        row = self._database.get().execute(
            "SELECT count(*), coalesce(sum(sequence), 0) FROM generations "
            "INDEXED BY generations_listed WHERE sequence <= ?",
            (self._through,),
        )
        count, total = row.fetchone()
        return count, total
