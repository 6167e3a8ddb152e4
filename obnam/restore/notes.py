"""What a restore must remember of entries, on disk: it may be about any number of them.

Hard links: of the entries that share a file, the first is written, and the others are linked to
it when everything is written. Blocking, on one thread.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from attrs import frozen

from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind
from obnam.restore.tree import Directory, Parts

_SCHEMA = """
CREATE TABLE first (device INTEGER, inode INTEGER, checksum BLOB, path BLOB,
    PRIMARY KEY (device, inode, checksum)) WITHOUT ROWID;
CREATE TABLE follower (path BLOB, directory INTEGER, name BLOB, kind INTEGER, first BLOB);
CREATE TABLE directory (path BLOB, mode INTEGER, uid INTEGER, gid INTEGER, mtime_ns INTEGER,
    attributes BLOB);
CREATE TABLE copy (path BLOB, directory INTEGER, name BLOB);
CREATE TABLE aside (path BLOB PRIMARY KEY) WITHOUT ROWID;
"""

_TOGETHER = 1024
"""Directories that are written by one statement, which takes a fifth of the time."""


@frozen
class Follower:
    """Another name of a file, or of a link, FIFO or socket: where its row is, where it goes, and
    which entry it shares.
    """

    directory: int
    row_name: bytes
    kind: Kind
    parts: Parts
    name: bytes
    first: Parts
    is_first_there: bool


class MadeDirectory(NamedTuple):
    """A directory with its metadata; all ``None``: it gets those of any new directory."""

    parts: Parts
    mode: int | None
    uid: int | None
    gid: int | None
    mtime_ns: int | None
    attributes: bytes | None


class Notes:
    """A temporary database that goes away with its connection."""

    def __init__(self) -> None:
        # The empty name: a file of its own, removed by SQLite, only written when it grows.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("BEGIN")
        self._made: list[tuple[bytes | int | None, ...]] = []

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def is_first(self, parts: Parts, row: EntryRow) -> bool:
        """Whether a file is the first of those that share one; others are noted.

        Files that had the same inode, but not at the same time, differ in their content. Links,
        FIFOs and sockets have none: they may differ in their kind, or in what they point to.
        """
        path = _path((*parts, row.name))
        content = row.checksum
        if row.kind != Kind.FILE:
            content = b"has no checksum: %d %b" % (row.kind, row.target or b"")  # not 16 bytes
        key = (row.device, row.inode, content)
        found = self._connection.execute(
            "SELECT path FROM first WHERE device = ? AND inode = ? AND checksum = ?", key
        ).fetchone()
        if found is None:
            self._connection.execute("INSERT INTO first VALUES (?, ?, ?, ?)", (*key, path))
            return True
        self._connection.execute(
            "INSERT INTO follower VALUES (?, ?, ?, ?, ?)",
            (path, row.directory, row.name, row.kind, found[0]),
        )
        return False

    def made(self, directory: Directory) -> None:
        """Note a directory that is there now, and whose metadata is to be set."""
        parts, row = directory
        metadata = (None,) * 5 if row is None else (*row[5:8], row.mtime_ns, row.attributes)
        self._made.append((_path(parts), *metadata))
        if len(self._made) == _TOGETHER:
            self._write_made()

    def directories(self) -> Iterator[MadeDirectory]:
        """Those directories, each after all that were made in it."""
        self._write_made()
        for path, *metadata in self._connection.execute(
            "SELECT * FROM directory ORDER BY rowid DESC"
        ):
            yield MadeDirectory(tuple(path.split(b"/")) if path else (), *metadata)

    def _write_made(self) -> None:
        self._connection.executemany("INSERT INTO directory VALUES (?, ?, ?, ?, ?, ?)", self._made)
        self._made.clear()

    def set_aside(self, parts: Parts, name: bytes) -> None:
        """Note that an entry was not restored: it failed, or what stood there was kept."""
        self._connection.execute("INSERT OR IGNORE INTO aside VALUES (?)", (_path((*parts, name)),))

    def is_aside(self, parts: Parts, name: bytes) -> bool:
        """Whether that was noted."""
        return (
            self._connection.execute(
                "SELECT 1 FROM aside WHERE path = ?", (_path((*parts, name)),)
            ).fetchone()
            is not None
        )

    def followers(self) -> Iterator[Follower]:
        """All entries to be linked, in the order in which they were met."""
        for row in self._connection.execute(
            "SELECT follower.path, directory, name, kind, first, aside.path IS NOT NULL"
            " FROM follower LEFT JOIN aside ON aside.path = first ORDER BY follower.rowid"
        ):
            path, directory, name, kind, first, aside = row
            *parts, new = path.split(b"/")
            place = tuple(parts), new, tuple(first.split(b"/"))
            yield Follower(directory, name, Kind(kind), *place, not aside)

    def copy(self, follower: Follower) -> None:
        """Note that an entry cannot be linked, and is to be written by itself."""
        path = _path((*follower.parts, follower.name))
        self._connection.execute(
            "INSERT INTO copy VALUES (?, ?, ?)", (path, follower.directory, follower.row_name)
        )

    def copies(self) -> Iterator[tuple[Parts, int, bytes]]:
        """Those entries: where each goes, its directory's number, and its name there."""
        for path, directory, name in self._connection.execute("SELECT * FROM copy ORDER BY rowid"):
            yield tuple(path.split(b"/")), directory, name


def _path(parts: Parts) -> bytes:
    return b"/".join(parts)
