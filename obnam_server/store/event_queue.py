"""Events on their way to webhooks: a bounded queue for each, on the disk. Everything blocks."""

from collections.abc import Collection
from pathlib import Path

from attrs import define, field, frozen

from obnam_server.store.disk.database import Database, database_errors

SCHEMA_VERSION = (1, 0)
DATABASE_NAME = "events.sqlite"

WAITING_MAX = 1000
"""Events that wait for one webhook; beyond, the oldest are dropped: the newest count."""


@frozen
class Delivery:
    """One event for one webhook. Times: ns since the epoch."""

    number: int
    created_ns: int
    body: bytes
    tries: int
    due_ns: int


@define(eq=False)
class EventQueue:
    """All queues, in ``DATA/events.sqlite``. Any thread."""

    _database: Database = field(repr=False)

    @classmethod
    def open(cls, data_directory: Path) -> "EventQueue":
        """Open it, or make it. `UnknownFormat`, `StoreFull`, `StoreFailed`."""
        database = Database(data_directory / DATABASE_NAME, "events", SCHEMA_VERSION)
        try:
            database.prepare()
        except BaseException:
            database.close()
            raise
        return cls(database)

    def add(self, urls: Collection[str], body: bytes, now_ns: int) -> int:
        """Queue ``body`` for each of ``urls``; how many older ones were dropped for it."""
        dropped = 0
        with self._database.transaction(durable=True) as connection:
            for url in urls:
                connection.execute(
                    "INSERT INTO deliveries (url, created, body, tries, due) "
                    "VALUES (?, ?, ?, 0, ?)",
                    (url, now_ns, body, now_ns),
                )
                dropped += connection.execute(
                    "DELETE FROM deliveries WHERE url = ?1 AND number <= ("
                    "SELECT number FROM deliveries WHERE url = ?1 "
                    "ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                    (url, WAITING_MAX),
                ).rowcount
        return dropped

    def first(self, url: str) -> Delivery | None:
        """The oldest one that waits for a webhook."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute(
                    "SELECT number, created, body, tries, due FROM deliveries WHERE url = ? "
                    "ORDER BY number LIMIT 1",
                    (url,),
                )
                .fetchone()
            )
            return None if row is None else Delivery(*row)

    def done(self, number: int) -> None:
        """It arrived, or is given up."""
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM deliveries WHERE number = ?", (number,))

    def failed(self, number: int, due_ns: int) -> None:
        """It did not arrive; try again at ``due_ns``."""
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "UPDATE deliveries SET tries = tries + 1, due = ? WHERE number = ?",
                (due_ns, number),
            )

    def keep_only(self, urls: Collection[str]) -> None:
        """Forget what waits for webhooks that are not in the configuration any more."""
        with self._database.transaction(durable=True) as connection:
            known = connection.execute("SELECT DISTINCT url FROM deliveries").fetchall()
            for (url,) in known:
                if url not in urls:
                    connection.execute("DELETE FROM deliveries WHERE url = ?", (url,))

    def close(self) -> None:
        """Close it, for all threads."""
        self._database.close()
