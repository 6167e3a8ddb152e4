"""The part of the index that lets sessions survive a restart. SQL only."""

from typing import Any

from attrs import define
from pyroaring import BitMap64
from zope.interface import implementer

from obnam.model.chunk import SetSum
from obnam.model.ids import CHUNK_ID_BYTES, ClientName, GenerationId, SessionId
from obnam_server.store.disk.database import Database, database_errors
from obnam_server.store.seams.sessions import ISessionIndex, SessionRecord

_COLUMNS = "id, client, base, chunk_count, chunk_xor, touched"


@implementer(ISessionIndex)
@define(eq=False, slots=False)
class SessionIndex:
    """See `ISessionIndex`."""

    _database: Database

    def put_session(self, record: SessionRecord) -> None:
        """See `ISessionIndex`."""
        self._database.get().execute(
            f"INSERT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (
                record.session,
                record.client,
                record.base,
                record.sum.count,
                pack_xor(record.sum),
                record.touched_ns,
            ),
        )

    def change_session(
        self,
        session: SessionId,
        added: BitMap64,
        removed: BitMap64,
        total: SetSum,
        touched_ns: int,
    ) -> None:
        """See `ISessionIndex`."""
        connection = self._database.get()
        connection.execute(
            "INSERT INTO session_steps (session, added, removed) VALUES (?, ?, ?)",
            (session, added.serialize(), removed.serialize()),
        )
        connection.execute(
            "UPDATE sessions SET chunk_count = ?, chunk_xor = ?, touched = ? WHERE id = ?",
            (total.count, pack_xor(total), touched_ns, session),
        )

    def step_count(self, session: SessionId) -> int:
        """See `ISessionIndex`."""
        with database_errors(self._database.path):
            row = self._database.get().execute(
                "SELECT count(*) FROM session_steps WHERE session = ?", (session,)
            )
            return int(row.fetchone()[0])

    def forget_steps(self, session: SessionId) -> None:
        """See `ISessionIndex`."""
        self._database.get().execute("DELETE FROM session_steps WHERE session = ?", (session,))

    def touch_session(self, session: SessionId, touched_ns: int) -> None:
        """See `ISessionIndex`."""
        self._database.get().execute(
            "UPDATE sessions SET touched = ? WHERE id = ?", (touched_ns, session)
        )

    def get_session(
        self, session: SessionId, client: ClientName | None
    ) -> tuple[SessionRecord, BitMap64] | None:
        """See `ISessionIndex`."""
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM sessions WHERE id = ?1 AND (?2 IS NULL OR client = ?2)",
                (session, client),
            ).fetchone()
            if row is None:
                return None
            record = _record(row)
            base = connection.execute(
                "SELECT chunks FROM generations WHERE id = ?", (record.base,)
            ).fetchone()
            if base is None and record.base is not None:
                return None
            numbers = BitMap64() if base is None else BitMap64.deserialize(base[0])
            for added, removed in connection.execute(
                "SELECT added, removed FROM session_steps WHERE session = ? ORDER BY step",
                (session,),
            ):
                numbers |= BitMap64.deserialize(added)
                numbers -= BitMap64.deserialize(removed)
            return record, numbers

    def sessions(self, client: ClientName | None) -> list[SessionRecord]:
        """See `ISessionIndex`."""
        if client is None:
            return self._records("", ())
        return self._records("WHERE client = ?", (client,))

    def sessions_untouched_since(self, time_ns: int) -> list[SessionRecord]:
        """See `ISessionIndex`."""
        return self._records("WHERE touched < ?", (time_ns,))

    def _records(self, condition: str, values: tuple[Any, ...]) -> list[SessionRecord]:
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                f"SELECT {_COLUMNS} FROM sessions {condition} ORDER BY touched, id", values
            )
            return [_record(row) for row in rows]

    def end_session(self, session: SessionId) -> None:
        """See `ISessionIndex`."""
        self._database.get().execute("DELETE FROM sessions WHERE id = ?", (session,))


def pack_xor(total: SetSum) -> bytes:
    """The XOR of a sum as 33 bytes."""
    return total.xor.to_bytes(CHUNK_ID_BYTES, "big")


def unpack_sum(count: int, xor: bytes) -> SetSum:
    """A sum from its two columns."""
    return SetSum(count, int.from_bytes(xor, "big"))


def _record(row: tuple[Any, ...]) -> SessionRecord:
    return SessionRecord(
        session=SessionId(row[0]),
        client=ClientName(row[1]),
        base=None if row[2] is None else GenerationId(row[2]),
        sum=unpack_sum(row[3], row[4]),
        touched_ns=row[5],
    )
