"""Which files of a generation use certain chunks, and where. Blocking.

A generation database leads from files to chunks; the other way takes a look at all of its rows,
which is done in SQL, with what is found in temporary tables: however many there are.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from obnam.errors import DamagedGeneration
from obnam.generation import schema
from obnam.generation.nascent import ROOT_DIRECTORY
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId

_DEPTH_MAX = 10_000
"""Directories within directories; deeper ones are no tree but a loop."""

_TABLES = """
CREATE TEMP TABLE wanted (number INTEGER PRIMARY KEY, id BLOB, length INTEGER);
CREATE TEMP TABLE part (
    file INTEGER, position INTEGER, chunk INTEGER, start INTEGER, length INTEGER
);
CREATE TEMP TABLE used (
    chunk INTEGER, start INTEGER, length INTEGER, position INTEGER, directory INTEGER, name BLOB,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER
);
CREATE TEMP TABLE place (number INTEGER PRIMARY KEY, directory INTEGER, name BLOB);
"""

_STATUS = "e.directory, e.name, e.size, e.mtime_ns, e.ctime_ns, e.inode"

_FILL = (
    # The large tables once, from their start to their end.
    "INSERT INTO part SELECT x.* FROM extent x CROSS JOIN wanted w ON w.number = x.chunk",
    "CREATE INDEX temp.part_by_file ON part (file)",
    f"INSERT INTO used SELECT e.chunk, e.start, e.size, 0, {_STATUS}"
    f" FROM entry e CROSS JOIN wanted w ON w.number = e.chunk WHERE e.kind = {Kind.FILE.value}",
    f"INSERT INTO used SELECT p.chunk, p.start, p.length, p.position, {_STATUS}"
    f" FROM entry e CROSS JOIN part p ON p.file = e.number WHERE e.kind = {Kind.FILE.value}",
    "CREATE INDEX temp.used_by_chunk ON used (chunk, start)",
    "INSERT OR IGNORE INTO place SELECT number, directory, name FROM entry"
    f" WHERE kind = {Kind.DIRECTORY.value}",
)


class FileStatus(NamedTuple):
    """A file as it was when its content was read: size in bytes, times in ns, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Use(NamedTuple):
    """``length`` bytes at ``position`` of a file lie at ``start`` of a chunk."""

    start: int
    length: int
    position: int
    path: bytes
    status: FileStatus


class Usage:
    """Finds users of chunks in the database at ``path``. Belongs to one thread; `close` it."""

    def __init__(self, path: Path, ids: Iterable[ChunkId]) -> None:
        """Look for ``ids``. Raises ``DamagedGeneration`` or ``UnknownFormat``."""
        self._path = path
        self._connection = schema.open_to_read(path)
        try:
            self._connection.executescript(_TABLES)
            self._connection.executemany(
                "INSERT OR IGNORE INTO wanted SELECT number, id, length FROM chunk WHERE id = ?",
                ((chunk_id,) for chunk_id in ids),
            )
            for statement in _FILL:
                self._connection.execute(statement)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._damaged(error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def chunks(self) -> list[tuple[ChunkId, int]]:
        """Those that the generation has, and the lengths of their plaintexts."""
        return [
            (ChunkId(row[0]), row[1])
            for row in self._rows("SELECT id, length FROM wanted ORDER BY number")
        ]

    def uses(self, chunk_id: ChunkId) -> Iterator[Use]:
        """Where a chunk is used, in the order of its bytes."""
        for row in self._rows(
            "SELECT start, length, position, directory, name, size, mtime_ns, ctime_ns, inode"
            " FROM used WHERE chunk = (SELECT number FROM wanted WHERE id = ?) ORDER BY start",
            chunk_id,
        ):
            start, length, position, directory, name, *status = row
            path = self._path_of(directory, name)
            yield Use(start, length, position, path, FileStatus(*status))

    def entries(self, chunks: Iterable[ChunkId]) -> list[tuple[int, bytes]]:
        """Files that use any of ``chunks``: numbers of their directories, and their names."""
        found: set[tuple[int, bytes]] = set()
        for chunk_id in chunks:
            found.update(
                self._rows(
                    "SELECT directory, name FROM used"
                    " WHERE chunk = (SELECT number FROM wanted WHERE id = ?)",
                    chunk_id,
                )
            )
        return sorted(found)

    def paths(self) -> list[bytes]:
        """Paths of all files that use any of the chunks, in byte order."""
        rows = self._rows("SELECT DISTINCT directory, name FROM used")
        return sorted(self._path_of(directory, name) for directory, name in rows)

    def _path_of(self, directory: int, name: bytes) -> bytes:
        path = name
        for _ in range(_DEPTH_MAX):
            if directory == ROOT_DIRECTORY:
                return path
            row = self._connection.execute(
                "SELECT directory, name FROM place WHERE number = ?", (directory,)
            ).fetchone()
            if row is None:
                raise DamagedGeneration(str(self._path), f"it has no directory {directory}")
            directory, above = row
            path = above + path if above == b"/" else above + b"/" + path
        raise DamagedGeneration(str(self._path), "its directories form a loop")

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.DatabaseError) -> DamagedGeneration:
        return DamagedGeneration(str(self._path), f"its database is damaged ({error})")
