"""SQLite as the store uses it: one connection per thread, WAL, failures named.

A server may have a thousand repositories and a dozen threads. So each thread keeps only the
connections that it used last, of all databases together.
"""

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from attrs import define, field

from obnam.errors import UnknownFormat
from obnam.inodes import lacks_inodes
from obnam_server.store.disk.files import disk_errors
from obnam_server.store.errors import StoreFailed, StoreFull, StoreUncertain

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process, which holds the lock for milliseconds."""

CONNECTIONS_PER_THREAD = 32
"""Of all databases. Each takes three open files and, even if little is read, 150 KB."""

_CACHE_KIB = 16 * 1024
_HEAP_BYTES = 256 << 20
"""What SQLite takes in all. Beyond it each connection makes do with the pages that it has."""
_SHARED_MEMORY = (
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
)
_SHARED_MEMORY_BYTES = 64 * 1024
"""Twice what SQLite needs for it at first."""

_LOG_LIMIT_BYTES = 64 << 20
"""The write-ahead log is cut back to this when it has been emptied."""


def is_full(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite found no room on the disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def is_without_room(error: sqlite3.DatabaseError, path: Path) -> bool:
    """Whether the disk of ``path`` has no room for what SQLite could not do.

    Where its shared memory cannot be made, it only says that there was an I/O error; where one of
    its files cannot be, that it cannot be opened.
    """
    if is_full(error):
        return True
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return lacks_inodes(path.parent)
    if getattr(error, "sqlite_errorcode", 0) not in _SHARED_MEMORY:
        return False
    with disk_errors(path):
        disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize < _SHARED_MEMORY_BYTES


def is_damaged(error: BaseException | None) -> bool:
    """Whether SQLite found the file itself to be broken."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Name what SQLite said: `StoreFull` when there is no room, else `StoreFailed`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if is_without_room(error, path):
            raise StoreFull(str(path), lacks_inodes(path.parent)) from error
        raise StoreFailed(str(path), str(error)) from error


class _Kept(threading.local):
    """The connections of one thread; the one that was used last comes last."""

    def __init__(self) -> None:
        self.connections: OrderedDict[Database, sqlite3.Connection] = OrderedDict()


_kept = _Kept()


@define(eq=False)
class Database:
    """One SQLite file. ``schema``: ``sql/SCHEMA.sql``, whose ``meta`` table holds its version.

    ``sql/SCHEMA-1.1.sql`` makes 1.1 of 1.0, and so on: each minor version has such a file.
    """

    path: Path
    _schema: str
    _version: tuple[int, int]
    _all: set[sqlite3.Connection] = field(init=False, factory=set)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    _writing: threading.Lock = field(init=False, factory=threading.Lock)

    def prepare(self) -> None:
        """Make the tables where there are none, and check the version. `UnknownFormat`."""
        with disk_errors(self.path):
            # SQLite gives its other files the mode of this one.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with database_errors(self.path):
            connection = self.get()
            connection.execute("PRAGMA journal_mode = WAL")
            with self.transaction(durable=True):
                if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    self._run(connection, f"{self._schema}.sql")
                    self._put_version(connection)
                self._bring_up(connection)

    def _bring_up(self, connection: sqlite3.Connection) -> None:
        """Change a database of an earlier minor version into one of ours. `UnknownFormat`."""
        found = dict(
            connection.execute("SELECT name, value FROM meta WHERE name LIKE 'schema_version_%'")
        )
        major, minor = found.get("schema_version_major"), found.get("schema_version_minor")
        if major != self._version[0] or minor is None or minor > self._version[1]:
            known = f"{self._version[0]}.{self._version[1]}"
            raise UnknownFormat(str(self.path), f"{major}.{minor}", known)
        for step in range(minor + 1, self._version[1] + 1):
            self._run(connection, f"{self._schema}-{major}.{step}.sql")
        if minor < self._version[1]:
            self._put_version(connection)

    def _put_version(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
            [
                ("schema_version_major", self._version[0]),
                ("schema_version_minor", self._version[1]),
            ],
        )

    def _run(self, connection: sqlite3.Connection, name: str) -> None:
        sql = resources.files("obnam_server.store").joinpath("sql", name).read_text("utf-8")
        # Not executescript(), which would end the transaction.
        statement = ""
        for line in sql.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                connection.execute(statement)
                statement = ""

    def get(self) -> sqlite3.Connection:
        """This thread's connection."""
        kept = _kept.connections
        connection = kept.get(self)
        if connection is not None:
            kept.move_to_end(self)
            return connection
        connection = kept[self] = self._connect()
        for other in list(kept)[:-CONNECTIONS_PER_THREAD]:
            if other._let_go(kept[other]):
                del kept[other]
        return connection

    def _let_go(self, connection: sqlite3.Connection) -> bool:
        """Close it, if it is not closed already; not in the middle of a transaction."""
        with self._lock:
            if connection in self._all:
                if connection.in_transaction:
                    return False
                self._all.discard(connection)
                connection.close()
        return True

    def empty_log(self) -> None:
        """Move what is in the write-ahead log to its place, unless a reader is in the way."""
        connection = self.get()
        with database_errors(self.path):
            # Not to wait: it is done again after the next commit.
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")

    def _connect(self) -> sqlite3.Connection:
        # Each connection stays on its thread; only close() comes from another.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA soft_heap_limit = {_HEAP_BYTES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        connection.execute("PRAGMA foreign_keys = ON")
        with self._lock:
            self._all.add(connection)
        return connection

    @contextmanager
    def transaction(self, durable: bool) -> Iterator[sqlite3.Connection]:
        """See `obnam_server.store.seams.index.IIndex.transaction`."""
        with self._writing, database_errors(self.path):
            connection = self.get()
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                self._commit(connection)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if is_full(error):
                raise
            # After a failed fsync nobody knows what the disk has.
            raise StoreUncertain(str(self.path), str(error)) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several questions about one moment. May stand within a transaction of this thread."""
        with database_errors(self.path):
            connection = self.get()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
