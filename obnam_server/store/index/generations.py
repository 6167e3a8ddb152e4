"""The part of the index that knows generations, keyring and register. SQL only."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from attrs import astuple, define, field
from pyroaring import BitMap64
from zope.interface import implementer

from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.messages import Countersignature, GenerationSummary, Receipt
from obnam_server.store.disk.database import Database, database_errors
from obnam_server.store.index.sessions import pack_xor, unpack_sum
from obnam_server.store.index.union import GenerationUnion
from obnam_server.store.seams.index import IGenerationIndex
from obnam_server.store.seams.values import Counted, GenerationRecord, Location, Past, SegmentNumber

_SUMMARY = (
    "id, sequence, received, client, previous, partial, chunk_count, manifest_id, "
    "signature, receipt_hash"
)
_COUNTED = "added_count, added_bytes, removed_count, stored_bytes"
_COLUMNS = f"{_SUMMARY}, base, chunk_xor, segment, offset, length"
_NOT_COUNTED = (None,) * 4


@implementer(IGenerationIndex)
@define(eq=False, slots=False)
class GenerationIndex:
    """See `IGenerationIndex`."""

    _database: Database
    _union: GenerationUnion = field(init=False)

    def put_generation(self, record: GenerationRecord, numbers: BitMap64) -> None:
        """See `IGenerationIndex`."""
        summary, receipt, manifest = record.summary, record.summary.receipt, record.manifest
        signed = receipt.countersigned
        self._database.get().execute(
            f"INSERT INTO generations ({_COLUMNS}, {_COUNTED}, chunks) "
            f"VALUES ({', '.join('?' * 20)})",
            (
                receipt.generation,
                receipt.sequence,
                receipt.received_ns,
                summary.client,
                summary.previous,
                summary.partial,
                summary.chunk_count,
                record.manifest_id,
                None if signed is None else signed.signature,
                None if signed is None else signed.previous,
                record.base,
                pack_xor(record.sum),
                manifest.segment,
                manifest.offset,
                manifest.length,
                *(_NOT_COUNTED if record.counted is None else astuple(record.counted)),
                numbers.serialize(),
            ),
        )

    def get_generation(self, generation: GenerationId) -> GenerationRecord | None:
        """See `IGenerationIndex`."""
        return self._one("WHERE id = ?", (generation,))

    def generation_set(self, generation: GenerationId) -> BitMap64 | None:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute("SELECT chunks FROM generations WHERE id = ?", (generation,))
                .fetchone()
            )
            return None if row is None else BitMap64.deserialize(row[0])

    def list_generations(self, after_sequence: int, limit: int) -> list[GenerationSummary]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                f"SELECT {_SUMMARY} FROM generations INDEXED BY generations_listed "
                "WHERE trashed IS NULL AND sequence > ? ORDER BY sequence LIMIT ?",
                (after_sequence, limit),
            )
            return [_summary(row) for row in rows]

    def list_trash(self, after_sequence: int, limit: int) -> list[tuple[GenerationSummary, int]]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                f"SELECT {_SUMMARY}, trashed FROM generations INDEXED BY generations_listed "
                "WHERE sequence > ? AND trashed IS NOT NULL ORDER BY sequence LIMIT ?",
                (after_sequence, limit),
            )
            return [(_summary(row), row[-1]) for row in rows]

    def all_generations(self) -> list[tuple[GenerationSummary, int | None]]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                f"SELECT {_SUMMARY}, trashed FROM generations INDEXED BY generations_listed "
                "ORDER BY sequence"
            )
            return [(_summary(row), row[-1]) for row in rows]

    def live_set(self, since: int) -> BitMap64:
        """See `IGenerationIndex`."""
        return self._union.get(since)

    def generation_in(self, segment: SegmentNumber) -> GenerationId | None:
        """See `IGenerationIndex`."""
        found = self._one("WHERE segment = ?", (segment,))
        return None if found is None else found.summary.receipt.generation

    def move_generation(self, generation: GenerationId, manifest: Location) -> None:
        """See `IGenerationIndex`."""
        self._database.get().execute(
            "UPDATE generations SET segment = ?, offset = ?, length = ? WHERE id = ?",
            (manifest.segment, manifest.offset, manifest.length, generation),
        )

    def listed_sets(self) -> Iterator[tuple[GenerationId, BitMap64]]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            for name, chunks in self._database.get().execute(
                "SELECT id, chunks FROM generations WHERE trashed IS NULL ORDER BY sequence DESC"
            ):
                yield GenerationId(name), BitMap64.deserialize(chunks)

    def all_sets(self) -> Iterator[tuple[GenerationId, BitMap64]]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            for name, chunks in self._database.get().execute("SELECT id, chunks FROM generations"):
                yield GenerationId(name), BitMap64.deserialize(chunks)

    def without_generations(self, numbers: BitMap64, but: Collection[GenerationId]) -> BitMap64:
        """See `IGenerationIndex`."""
        left = BitMap64(numbers)
        with database_errors(self._database.path):
            rows = self._database.get().execute("SELECT id, chunks FROM generations")
            for generation, chunks in rows:
                if not left:
                    break
                if generation not in but:
                    left -= BitMap64.deserialize(chunks)
        return left

    def history(self, client: ClientName, limit: int) -> list[Past]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                f"SELECT received, partial, chunk_count, {_COUNTED} FROM generations "
                f"INDEXED BY generations_counted WHERE client = ? AND added_count IS NOT NULL "
                "ORDER BY sequence DESC LIMIT ?",
                (client, limit),
            )
            return [
                Past(row[0], bool(row[1]), row[2], Counted(*row[3:]))
                for row in rows.fetchall()[::-1]
            ]

    def stored_bytes(self) -> list[tuple[int, int]]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            return (
                self._database.get()
                .execute(
                    "SELECT received, stored_bytes FROM generations INDEXED BY generations_counted "
                    "WHERE stored_bytes IS NOT NULL ORDER BY sequence"
                )
                .fetchall()
            )

    def last_good(self) -> dict[ClientName, int]:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                "SELECT client, max(received) FROM generations INDEXED BY generations_counted "
                "WHERE partial = 0 AND trashed IS NULL GROUP BY client"
            )
            return {ClientName(row[0]): row[1] for row in rows}

    def latest(self, client: ClientName | None) -> GenerationRecord | None:
        """See `IGenerationIndex`."""
        if client is None:
            return self._one("ORDER BY sequence DESC LIMIT 1", ())
        return self._one("WHERE client = ? ORDER BY sequence DESC LIMIT 1", (client,))

    def newest(self, client: ClientName) -> set[GenerationId]:
        """See `IGenerationIndex`."""
        found: set[GenerationId] = set()
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                "SELECT id, partial FROM generations WHERE client = ? AND trashed IS NULL "
                "ORDER BY sequence DESC",
                (client,),
            )
            for generation, partial in rows:
                if not found or not partial:
                    found.add(GenerationId(generation))
                if not partial:
                    break
            rows.close()
        return found

    def generation_count(self) -> int:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute(
                    "SELECT count(*) FROM generations INDEXED BY generations_listed "
                    "WHERE trashed IS NULL"
                )
                .fetchone()
            )
            return int(row[0])

    def next_sequence(self) -> int:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute(
                    "SELECT max(coalesce((SELECT value FROM meta WHERE name = 'next_sequence'), 1),"
                    " coalesce((SELECT max(sequence) + 1 FROM generations), 1))"
                )
                .fetchone()
            )
            return int(row[0])

    def put_trash(self, trashed_ns: Mapping[GenerationId, int]) -> None:
        """See `IGenerationIndex`."""
        connection = self._database.get()
        before = dict(
            connection.execute(
                "SELECT id, trashed FROM generations INDEXED BY generations_listed "
                "WHERE trashed IS NOT NULL"
            )
        )
        # Only what changes: with a row its set is written anew.
        changes = dict.fromkeys(before.keys() - trashed_ns.keys())
        changes |= {key: at for key, at in trashed_ns.items() if before.get(key) != at}
        connection.executemany(
            "UPDATE generations SET trashed = ? WHERE id = ?",
            [(at_ns, generation) for generation, at_ns in changes.items()],
        )

    def remove_generations(self, sequences: BitMap64) -> list[SegmentNumber]:
        """See `IGenerationIndex`."""
        connection = self._database.get()
        if sequences:
            connection.execute(
                "INSERT INTO meta (name, value) VALUES ('next_sequence', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                (sequences.max() + 1,),
            )
        known = connection.execute(
            "SELECT sequence, segment FROM generations INDEXED BY generations_listed"
        )
        going = [(sequence, segment) for sequence, segment in known if sequence in sequences]
        connection.executemany(
            "DELETE FROM generations WHERE sequence = ?", [(sequence,) for sequence, _ in going]
        )
        return [SegmentNumber(segment) for _, segment in going]

    def get_register(self) -> tuple[SegmentNumber, bytes] | None:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            row = self._database.get().execute("SELECT segment, content FROM register").fetchone()
            return None if row is None else (SegmentNumber(row[0]), bytes(row[1]))

    def put_register(self, segment: SegmentNumber, version: int, content: bytes) -> None:
        """See `IGenerationIndex`."""
        self._database.get().execute(
            "INSERT OR REPLACE INTO register (one, version, segment, content) VALUES (1, ?, ?, ?)",
            (version, segment, content),
        )

    def put_keyring(self, location: Location, version: int) -> None:
        """See `IGenerationIndex`."""
        self._database.get().execute(
            "INSERT OR REPLACE INTO keyring (one, version, segment, offset, length) "
            "VALUES (1, ?, ?, ?, ?)",
            (version, location.segment, location.offset, location.length),
        )

    def get_keyring(self) -> tuple[Location, int] | None:
        """See `IGenerationIndex`."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute("SELECT segment, offset, length, version FROM keyring")
                .fetchone()
            )
            return None if row is None else (Location(*row[:3]), int(row[3]))

    def _one(self, condition: str, values: tuple[Any, ...]) -> GenerationRecord | None:
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute(f"SELECT {_COLUMNS} FROM generations {condition}", values)
                .fetchone()
            )
            if row is None:
                return None
            return GenerationRecord(
                summary=_summary(row),
                base=None if row[10] is None else GenerationId(row[10]),
                sum=unpack_sum(row[6], row[11]),
                manifest_id=ChunkId(row[7]),
                manifest=Location(row[12], row[13], row[14]),
            )


def _summary(row: tuple[Any, ...]) -> GenerationSummary:
    signed = None
    if row[8] is not None:
        signed = Countersignature(bytes(row[9]), ChunkId(row[7]), bytes(row[8]))
    return GenerationSummary(
        receipt=Receipt(GenerationId(row[0]), row[1], row[2], signed),
        client=ClientName(row[3]),
        previous=None if row[4] is None else GenerationId(row[4]),
        partial=bool(row[5]),
        chunk_count=row[6],
    )
