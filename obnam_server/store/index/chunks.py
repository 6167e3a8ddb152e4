"""The part of the index that knows where chunks are. SQL only; see ``sql/index.sql``."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from attrs import astuple, define
from pyroaring import BitMap64
from zope.interface import implementer

from obnam.model.ids import ChunkId
from obnam_server.store.disk.database import Database, database_errors
from obnam_server.store.seams.index import IChunkIndex
from obnam_server.store.seams.values import (
    ChunkNumber,
    Location,
    NumberedChunk,
    Placed,
    SegmentNumber,
)
from obnam_server.store.segments.format import SegmentKind

Key = TypeVar("Key", ChunkId, ChunkNumber)

_BATCHES = (512, 64, 8, 1)
"""Ids in one query: few sizes, so that SQLite need not compile a statement for each."""

_SPAN = 4096
"""Numbers looked up at a time."""

_GROUPED_SPAN = 65_536
"""Numbers grouped by segments at a time: so many are sorted in memory, and quickly."""

_SPARSE = 8
"""Rows read for each that is wanted, up to which a range is read and not each number searched."""

_PUT = """
    INSERT INTO chunks (id, number, segment, offset, length) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (id) DO UPDATE
    SET segment = excluded.segment, offset = excluded.offset, length = excluded.length
    WHERE (?6, excluded.segment, excluded.offset) < (
        (SELECT kind <> ?7 FROM segments WHERE number = chunks.segment),
        chunks.segment,
        chunks.offset
    )
"""

_HEALED = """
    INSERT INTO meta (name, value) VALUES ('healed_chunks', ?1)
    ON CONFLICT (name) DO UPDATE SET value = value + ?1
"""
_FEW_OF_SPAN = 64
"""So many numbers of a span are looked up one by one. A row found by its number costs about as much
as 30 rows that follow each other."""


@implementer(IChunkIndex)
@define(eq=False, slots=False)
class ChunkIndex:
    """See `IChunkIndex`."""

    _database: Database

    def locate(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Location]:
        """See `IChunkIndex`."""
        rows = self._rows("SELECT id, segment, offset, length FROM chunks WHERE id IN", ids)
        return {ChunkId(row[0]): Location(row[1], row[2], row[3]) for row in rows}

    def numbers(self, ids: Sequence[ChunkId]) -> dict[ChunkId, ChunkNumber]:
        """See `IChunkIndex`."""
        # Both tables as they are at one moment: chunks move from one to the other.
        with self._database.reading():
            found = self.stored_numbers(ids)
            rest = [chunk_id for chunk_id in ids if chunk_id not in found]
            found.update(self._rows("SELECT id, number FROM absent WHERE id IN", rest))
        return found

    def stored_numbers(self, ids: Sequence[ChunkId]) -> dict[ChunkId, ChunkNumber]:
        """See `IChunkIndex`."""
        return dict(self._rows("SELECT id, number FROM chunks WHERE id IN", ids))

    def put(self, chunks: Sequence[NumberedChunk], kind: int) -> int:
        """See `IChunkIndex`."""
        connection = self._database.get()
        rank, compacted = int(kind != SegmentKind.COMPACTED), SegmentKind.COMPACTED
        rows = [(c.chunk_id, c.number, *astuple(c.location), rank, compacted) for c in chunks]
        # In the order of the keys, so that each page of the table is changed once.
        kept = connection.executemany(_PUT, sorted(rows)).rowcount
        damaged = self.damaged_count()
        connection.executemany("DELETE FROM absent WHERE number = ?", [(row[1],) for row in rows])
        if damaged:
            connection.execute(_HEALED, (damaged - self.damaged_count(),))
        return kept

    def put_wanted(self, chunks: Sequence[tuple[ChunkId, ChunkNumber]]) -> None:
        """See `IChunkIndex`."""
        self._database.get().executemany(
            "INSERT OR IGNORE INTO absent (id, number, damaged) SELECT ?1, ?2, 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE id = ?1)",
            chunks,
        )

    def put_lost(self, numbers: Sequence[ChunkNumber]) -> None:
        """See `IChunkIndex`."""
        self._database.get().executemany(
            "INSERT INTO absent (number, id, damaged) VALUES (?, NULL, 1) "
            "ON CONFLICT (number) DO UPDATE SET damaged = 1",
            [(number,) for number in numbers],
        )

    def damage(self, ids: Sequence[ChunkId]) -> None:
        """See `IChunkIndex`."""
        for chunk_id in ids:
            self._move_to_absent("id = ?", (chunk_id,))

    def lose(self, segment: SegmentNumber, from_offset: int) -> int:
        """See `IChunkIndex`."""
        return self._move_to_absent("segment = ? AND offset + length > ?", (segment, from_offset))

    def _move_to_absent(self, condition: str, values: tuple[Any, ...]) -> int:
        connection = self._database.get()
        connection.execute(
            "INSERT OR REPLACE INTO absent (number, id, damaged, segment) "
            f"SELECT number, id, 1, segment FROM chunks WHERE {condition}",
            values,
        )
        return connection.execute(f"DELETE FROM chunks WHERE {condition}", values).rowcount

    def all_stored(self) -> BitMap64:
        """See `IChunkIndex`."""
        return self._all_numbers("SELECT number FROM chunks INDEXED BY chunks_by_number")

    def absent(self) -> BitMap64:
        """See `IChunkIndex`."""
        return self._all_numbers("SELECT number FROM absent")

    def _all_numbers(self, query: str) -> BitMap64:
        """Numbers by the thousand: as a list of integers, all of them would take 40 bytes each."""
        found = BitMap64()
        with database_errors(self._database.path):
            rows = self._database.get().execute(query)
            while some := rows.fetchmany(_SPAN):
                found |= BitMap64([row[0] for row in some])
        return found

    def absent_ids(self, numbers: Sequence[ChunkNumber]) -> list[ChunkId]:
        """See `IChunkIndex`."""
        query = "SELECT id FROM absent WHERE id IS NOT NULL AND number IN"
        return [ChunkId(row[0]) for row in self._rows(query, numbers)]

    def wanted_count(self) -> int:
        """See `IChunkIndex`."""
        with database_errors(self._database.path):
            row = self._database.get().execute("SELECT count(*) FROM absent WHERE damaged = 0")
            return int(row.fetchone()[0])

    def forget_wanted(self, needed: BitMap64) -> None:
        """See `IChunkIndex`."""
        going = self._all_numbers("SELECT number FROM absent WHERE damaged = 0") - needed
        self._database.get().executemany(
            "DELETE FROM absent WHERE number = ?", [(number,) for number in going]
        )
        self.put_gone(self.gone() | going)

    def placed(self) -> dict[SegmentNumber, Placed]:
        """See `IChunkIndex`."""
        count: Counter[SegmentNumber] = Counter()
        size_bytes: Counter[SegmentNumber] = Counter()
        with self._database.reading() as connection:
            row = connection.execute("SELECT max(number) FROM chunks").fetchone()
            for first in range(0, (row[0] or 0) + 1, _GROUPED_SPAN):
                for segment, there, length in connection.execute(
                    "SELECT segment, count(*), sum(length) FROM chunks "
                    "INDEXED BY chunks_by_number WHERE number BETWEEN ? AND ? GROUP BY segment",
                    (first, first + _GROUPED_SPAN - 1),
                ):
                    count[segment] += there
                    size_bytes[segment] += length
        return {each: Placed(count[each], size_bytes[each]) for each in count}

    def sizes(self, numbers: BitMap64) -> Iterator[tuple[ChunkNumber, SegmentNumber, int]]:
        """See `IChunkIndex`."""
        left = iter(numbers)
        while batch := [ChunkNumber(number) for number in islice(left, _SPAN)]:
            if batch[-1] - batch[0] < _SPARSE * len(batch):
                # Most of a range is asked for: to read it is cheaper than to search for each.
                yield from self._sizes_between(batch[0], batch[-1], numbers)
            else:
                query = "SELECT number, segment, length FROM chunks WHERE number IN"
                yield from self._rows(query, batch)

    def _sizes_between(
        self, first: ChunkNumber, last: ChunkNumber, wanted: BitMap64
    ) -> Iterator[tuple[ChunkNumber, SegmentNumber, int]]:
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                "SELECT number, segment, length FROM chunks INDEXED BY chunks_by_number "
                "WHERE number BETWEEN ? AND ? ORDER BY number",
                (first, last),
            )
            yield from (row for row in rows if row[0] in wanted)

    def move(self, chunks: Sequence[NumberedChunk]) -> None:
        """See `IChunkIndex`."""
        self._database.get().executemany(
            "UPDATE chunks SET segment = ?, offset = ?, length = ? WHERE id = ?",
            [
                (c.location.segment, c.location.offset, c.location.length, c.chunk_id)
                for c in sorted(chunks, key=lambda c: c.chunk_id)
            ],
        )

    def remove(self, numbers: BitMap64) -> None:
        """See `IChunkIndex`."""
        self._database.get().executemany(
            "DELETE FROM chunks WHERE number = ?", [(number,) for number in numbers]
        )
        self.put_gone(self.gone() | numbers)

    def gone(self) -> BitMap64:
        """See `IChunkIndex`."""
        with database_errors(self._database.path):
            row = self._database.get().execute("SELECT numbers FROM gone").fetchone()
            return BitMap64() if row is None else BitMap64.deserialize(row[0])

    def put_gone(self, numbers: BitMap64) -> None:
        """See `IChunkIndex`."""
        numbers.run_optimize()
        self._database.get().execute(
            "INSERT OR REPLACE INTO gone (one, numbers) VALUES (1, ?)", (numbers.serialize(),)
        )

    def damaged_count(self) -> int:
        """See `IChunkIndex`."""
        with database_errors(self._database.path):
            row = self._database.get().execute("SELECT count(*) FROM absent WHERE damaged = 1")
            return int(row.fetchone()[0])

    def sealed_bytes(self, numbers: BitMap64) -> int:
        """See `IChunkIndex`.

        The numbers are looked at span by span. SQLite sums up what is stored of those that are
        (nearly) full, the few that are too much are subtracted; in spans that have few, those are
        looked up; of the others each row is read.
        """
        total = 0
        with self._database.reading():
            for low, high, count in _spans(numbers):
                if high - low - count <= _FEW_OF_SPAN:
                    total += self._sum(low, high)
                    if count < high - low:
                        total -= self._looked_up(BitMap64(range(low, high)) - numbers)
                elif count <= _FEW_OF_SPAN:
                    total += self._looked_up(numbers & BitMap64(range(low, high)))
                else:
                    rows: Iterable[tuple[int, int]] = self._database.get().execute(
                        "SELECT number, length FROM chunks WHERE number >= ? AND number < ?",
                        (low, high),
                    )
                    total += sum(length for number, length in rows if number in numbers)
        return total

    def _sum(self, low: int, high: int) -> int:
        row = self._database.get().execute(
            "SELECT sum(length) FROM chunks WHERE number >= ? AND number < ?", (low, high)
        )
        return int(row.fetchone()[0] or 0)

    def _looked_up(self, numbers: BitMap64) -> int:
        few = [ChunkNumber(number) for number in numbers]
        return sum(row[0] for row in self._rows("SELECT length FROM chunks WHERE number IN", few))

    def _rows(self, query: str, keys: Sequence[Key]) -> list[Any]:
        """The rows of ``query`` for ``keys``, in batches; sorted, for SQLite reads in order."""
        connection = self._database.get()
        left = sorted(set(keys))
        rows: list[Any] = []
        at = 0
        with database_errors(self._database.path):
            for size in _BATCHES:
                text = f"{query} ({', '.join('?' * size)})"
                while len(left) - at >= size:
                    rows += connection.execute(text, left[at : at + size]).fetchall()
                    at += size
        return rows


def _spans(numbers: BitMap64) -> Iterator[tuple[int, int, int]]:
    """The spans of ``numbers`` that are not empty: first, one beyond the last, how many."""
    low = 0
    while (following := next(numbers.iter_equal_or_larger(low), None)) is not None:
        low = following // _SPAN * _SPAN
        high = low + _SPAN
        yield low, high, numbers.range_cardinality(low, high)
        low = high
