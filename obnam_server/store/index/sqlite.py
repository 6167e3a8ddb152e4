"""The index of one repository in one SQLite file: its parts together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zope.interface import implementer

from obnam_server.store.disk.database import Database, database_errors, is_damaged
from obnam_server.store.errors import DamagedIndex, StoreFailed
from obnam_server.store.index.chunks import ChunkIndex
from obnam_server.store.index.damage import DamageIndex
from obnam_server.store.index.generations import GenerationIndex
from obnam_server.store.index.sessions import SessionIndex
from obnam_server.store.index.union import GenerationUnion
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import ChunkNumber, KnownSegment, SegmentNumber, SegmentSummary
from obnam_server.store.segments.format import CHUNK_KINDS

SCHEMA_VERSION = (1, 1)
"""An index with the same first number and a second one not above ours can be used."""


@implementer(IIndex)
class SqliteIndex(ChunkIndex, DamageIndex, SessionIndex, GenerationIndex):
    """See `IIndex`. The four parts share one database; segments are looked after here."""

    def __init__(self, path: Path) -> None:
        """`DamagedIndex`, `UnknownFormat`, `StoreFull`, `StoreFailed`."""
        super().__init__(Database(path, "index", SCHEMA_VERSION))
        self._union = GenerationUnion(self._database)
        try:
            self._database.prepare()
            with self.transaction(durable=True):
                self.clean = bool(self._meta("clean", 0))
                self._put_meta("clean", 0)
        except BaseException as error:
            self._database.close()
            if isinstance(error, StoreFailed) and is_damaged(error.__cause__):
                raise DamagedIndex(str(path), error.problem) from error
            raise

    @contextmanager
    def transaction(self, durable: bool) -> Iterator[None]:
        """See `IIndex`."""
        with self._database.transaction(durable):
            yield

    def tidy(self) -> None:
        """See `IIndex`."""
        self._database.empty_log()

    def close(self, clean: bool) -> None:
        """See `IIndex`."""
        try:
            if clean:
                with self.transaction(durable=True):
                    self._put_meta("clean", 1)
        finally:
            self._database.close()

    def put_segment(self, summary: SegmentSummary, kind: int, created_ns: int) -> None:
        """See `ISegmentIndex`."""
        self.forget_segment(summary.segment)
        self._database.get().execute(
            "INSERT INTO segments (number, kind, size, created) VALUES (?, ?, ?, ?)",
            (summary.segment, kind, summary.size_bytes, created_ns),
        )
        self._add_used(summary.size_bytes)

    def forget_segment(self, segment: SegmentNumber) -> None:
        """See `ISegmentIndex`."""
        connection = self._database.get()
        row = connection.execute("SELECT size FROM segments WHERE number = ?", (segment,))
        for (size_bytes,) in row.fetchall():
            connection.execute("DELETE FROM segments WHERE number = ?", (segment,))
            self._add_used(-size_bytes)

    def segments(self) -> dict[SegmentNumber, int]:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            return dict(self._database.get().execute("SELECT number, size FROM segments"))

    def chunk_segments(self) -> list[KnownSegment]:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                "SELECT number, size, coalesce(created, 0) FROM segments WHERE kind IN (?, ?) "
                "ORDER BY number",
                CHUNK_KINDS,
            )
            return [
                KnownSegment(SegmentSummary(SegmentNumber(number), size), created)
                for number, size, created in rows
            ]

    def segments_of(self, kind: int) -> list[SegmentNumber]:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                "SELECT number FROM segments WHERE kind = ? ORDER BY number", (kind,)
            )
            return [SegmentNumber(row[0]) for row in rows]

    def segment_kind(self, segment: SegmentNumber) -> int | None:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute("SELECT kind FROM segments WHERE number = ?", (segment,))
                .fetchone()
            )
            return None if row is None else int(row[0])

    def segments_after(
        self, segment: SegmentNumber, limit: int
    ) -> list[tuple[SegmentNumber, int, int]]:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            return (
                self._database.get()
                .execute(
                    "SELECT number, kind, size FROM segments WHERE number > ? "
                    "ORDER BY number LIMIT ?",
                    (segment, limit),
                )
                .fetchall()
            )

    def used_bytes(self) -> int:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            return self._meta("used_bytes", 0)

    def next_numbers(self) -> tuple[SegmentNumber, ChunkNumber]:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            return (
                SegmentNumber(self._meta("next_segment", 1)),
                ChunkNumber(self._meta("next_chunk", 0)),
            )

    def put_next_numbers(self, segment: SegmentNumber, chunk: ChunkNumber) -> None:
        """See `ISegmentIndex`."""
        self._raise_meta("next_segment", segment)
        self._raise_meta("next_chunk", chunk)

    def times(self) -> dict[str, int]:
        """See `ISegmentIndex`."""
        with database_errors(self._database.path):
            return dict(
                self._database.get().execute(
                    "SELECT substr(name, 6), value FROM meta WHERE name LIKE 'time %'"
                )
            )

    def put_times(self, times: Mapping[str, int]) -> None:
        """See `ISegmentIndex`."""
        for name, value in times.items():
            self._put_meta(f"time {name}", value)

    def _meta(self, name: str, default: int) -> int:
        row = (
            self._database.get()
            .execute("SELECT value FROM meta WHERE name = ?", (name,))
            .fetchone()
        )
        return default if row is None else int(row[0])

    def _put_meta(self, name: str, value: int) -> None:
        self._database.get().execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value)
        )

    def _add_used(self, size_bytes: int) -> None:
        self._database.get().execute(
            "INSERT INTO meta (name, value) VALUES ('used_bytes', ?) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (size_bytes,),
        )

    def _raise_meta(self, name: str, value: int) -> None:
        self._database.get().execute(
            "INSERT INTO meta (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (name, value),
        )
