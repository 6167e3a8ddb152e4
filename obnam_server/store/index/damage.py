"""The part of the index that knows damaged chunks, and how far the scrub has come. SQL only."""

from collections.abc import Sequence
from typing import Any

from attrs import define
from pyroaring import BitMap64
from zope.interface import implementer

from obnam.model.ids import ChunkId
from obnam_server.store.disk.database import Database, database_errors
from obnam_server.store.seams.index import IDamageIndex
from obnam_server.store.seams.values import (
    ChunkNumber,
    Damage,
    Location,
    NumberedChunk,
    ScrubPass,
    SegmentNumber,
)

_DAMAGED_COPY = "SELECT number FROM chunks WHERE id = ? AND segment = ?"

_PUT_DAMAGE = """
    INSERT INTO absent (number, id, damaged, segment, record)
    SELECT ?1, ?2, 1, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE id = ?2)
    ON CONFLICT DO UPDATE
    SET id = excluded.id, damaged = 1, segment = excluded.segment, record = excluded.record
    WHERE absent.number = excluded.number
"""

_PUT_PASS = """
    INSERT OR REPLACE INTO scrub_passes (began, ended, segment, bytes, damaged)
    VALUES (?, ?, ?, ?, ?)
"""

_PASSES_KEPT = 2


@implementer(IDamageIndex)
@define(eq=False, slots=False)
class DamageIndex:
    """See `IDamageIndex`."""

    _database: Database

    def chunks_in(self, segment: SegmentNumber) -> list[NumberedChunk]:
        """See `IDamageIndex`."""
        rows = self._select(
            "SELECT id, number, offset, length FROM chunks WHERE segment = ? ORDER BY offset",
            segment,
        )
        return [
            NumberedChunk(ChunkId(row[0]), ChunkNumber(row[1]), Location(segment, row[2], row[3]))
            for row in rows
        ]

    def damaged(self, first: ChunkNumber, limit: int) -> list[tuple[ChunkNumber, ChunkId | None]]:
        """See `IDamageIndex`."""
        return self._select(
            "SELECT number, id FROM absent WHERE damaged = 1 AND number >= ? "
            "ORDER BY number LIMIT ?",
            first,
            limit,
        )

    def unrecorded(self, limit: int) -> list[Damage]:
        """See `IDamageIndex`."""
        rows = self._select(
            "SELECT id, number, segment FROM absent WHERE damaged = 1 AND id IS NOT NULL "
            "AND record IS NULL ORDER BY number LIMIT ?",
            limit,
        )
        return [Damage(ChunkId(row[0]), row[1], row[2]) for row in rows]

    def put_recorded(self, record: SegmentNumber, numbers: Sequence[ChunkNumber]) -> None:
        """See `IDamageIndex`."""
        self._database.get().executemany(
            "UPDATE absent SET record = ? WHERE number = ?",
            [(record, number) for number in numbers],
        )

    def put_unrecorded(self, record: SegmentNumber) -> None:
        """See `IDamageIndex`."""
        self._database.get().execute("UPDATE absent SET record = NULL WHERE record = ?", (record,))

    def put_damage(self, record: SegmentNumber, found: Sequence[Damage]) -> None:
        """See `IDamageIndex`."""
        connection = self._database.get()
        for each in found:
            if connection.execute(_DAMAGED_COPY, (each.chunk_id, each.segment)).fetchone():
                connection.execute("DELETE FROM chunks WHERE id = ?", (each.chunk_id,))
            connection.execute(_PUT_DAMAGE, (each.number, each.chunk_id, each.segment, record))

    def forget_damaged(self, numbers: BitMap64) -> None:
        """See `IDamageIndex`."""
        self._database.get().executemany(
            "DELETE FROM absent WHERE damaged = 1 AND number = ?", [(each,) for each in numbers]
        )

    def recording(self, record: SegmentNumber) -> int:
        """See `IDamageIndex`."""
        rows = self._select("SELECT count(*) FROM absent WHERE damaged = 1 AND record = ?", record)
        return int(rows[0][0])

    def leaving(self) -> list[SegmentNumber]:
        """See `IDamageIndex`."""
        return [SegmentNumber(row[0]) for row in self._select("SELECT segment FROM leaving")]

    def put_leaving(self, segment: SegmentNumber) -> None:
        """See `IDamageIndex`."""
        self._database.get().execute("INSERT OR IGNORE INTO leaving VALUES (?)", (segment,))

    def forget_leaving(self, segment: SegmentNumber) -> None:
        """See `IDamageIndex`."""
        self._database.get().execute("DELETE FROM leaving WHERE segment = ?", (segment,))

    def healed_count(self) -> int:
        """See `IDamageIndex`."""
        rows = self._select("SELECT value FROM meta WHERE name = 'healed_chunks'")
        return int(rows[0][0]) if rows else 0

    def scrub_passes(self) -> list[ScrubPass]:
        """See `IDamageIndex`."""
        rows = self._select(
            "SELECT began, ended, segment, bytes, damaged FROM scrub_passes ORDER BY began DESC"
        )
        return [ScrubPass(*row) for row in rows]

    def put_scrub_pass(self, scrub: ScrubPass) -> None:
        """See `IDamageIndex`."""
        connection = self._database.get()
        connection.execute(
            _PUT_PASS,
            (scrub.began_ns, scrub.ended_ns, scrub.segment, scrub.size_bytes, scrub.damaged),
        )
        connection.execute(
            "DELETE FROM scrub_passes WHERE began NOT IN "
            "(SELECT began FROM scrub_passes ORDER BY began DESC LIMIT ?)",
            (_PASSES_KEPT,),
        )

    def put_scrub_problem(self, segment: SegmentNumber, problem: str | None) -> None:
        """See `IDamageIndex`."""
        connection = self._database.get()
        if problem is None:
            connection.execute("DELETE FROM scrub_problems WHERE segment = ?", (segment,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO scrub_problems (segment, problem) VALUES (?, ?)",
                (segment, problem),
            )

    def scrub_problems(self) -> dict[SegmentNumber, str]:
        """See `IDamageIndex`."""
        return dict(
            self._select(
                "SELECT segment, problem FROM scrub_problems "
                "WHERE segment IN (SELECT number FROM segments) ORDER BY segment"
            )
        )

    def _select(self, query: str, *values: object) -> list[Any]:
        with database_errors(self._database.path):
            return self._database.get().execute(query, values).fetchall()
