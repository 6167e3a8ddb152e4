"""Which files of a generation use certain chunks, and where. Blocking.

A generation database leads from files to chunks; the other way takes a look at all of its rows,
which is done in SQL, with what is found in temporary tables: however many there are. A database
that somebody else made may have rows without an end; what may be done with one is bounded by its
size.
"""

import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from obnam.errors import DamagedGeneration
from obnam.generation import schema
from obnam.generation.nascent import ROOT_DIRECTORY
from obnam.generation.sound import NAME_MAX
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId

_DEPTH_MAX = 5_000
_PATH_BYTES_MAX = 72 << 10
"""As in `obnam.generation.local`: deeper directories are no tree but a loop."""

PATHS_BYTES_MAX = 64 << 20
"""Of all paths that `Usage.paths` gives."""

_STEPS_LEAST = 1_000_000_000
_STEPS_A_BYTE = 200
"""Instructions of SQLite that are spent on one database, some 50 million a second: the scan takes
60 for a row, and a row 6 bytes of the file at least; a path takes 15 for each directory. The least
allows for large files with many names."""
_STEPS_AT_ONCE = 1_000_000

_TEMPORARY_LEAST_PAGES = 64 << 8
_TEMPORARY_SHARE = 4
"""Pages (of 4 KiB) of the temporary tables for one of the database. They repeat names and numbers,
twice with their indexes."""

_NUMBER_MAX = 1 << 62

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

_NAMED = (
    f"typeof(e.name) = 'blob' AND length(e.name) <= {NAME_MAX} AND e.directory <> {ROOT_DIRECTORY}"
)
"""What no backup has is no file: it is found by who reads or restores the generation."""

_STATUS = "e.directory, e.name, e.size, e.mtime_ns, e.ctime_ns, e.inode"

_FILL = (
    # The large tables once, from their start to their end.
    "INSERT INTO part SELECT x.* FROM extent x CROSS JOIN wanted w ON w.number = x.chunk",
    "CREATE INDEX temp.part_by_file ON part (file)",
    f"INSERT INTO used SELECT e.chunk, e.start, e.size, 0, {_STATUS}"
    f" FROM entry e CROSS JOIN wanted w ON w.number = e.chunk"
    f" WHERE e.kind = {Kind.FILE.value} AND {_NAMED}",
    f"INSERT INTO used SELECT p.chunk, p.start, p.length, p.position, {_STATUS}"
    f" FROM entry e CROSS JOIN part p ON p.file = e.number"
    f" WHERE e.kind = {Kind.FILE.value} AND {_NAMED}",
    "CREATE INDEX temp.used_by_chunk ON used (chunk, start)",
    "INSERT OR IGNORE INTO place SELECT number, directory, name FROM entry"
    f" WHERE kind = {Kind.DIRECTORY.value} AND length(name) <= {_PATH_BYTES_MAX}",
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
        self._steps = _STEPS_LEAST + _STEPS_A_BYTE * path.stat().st_size
        try:
            self._connection.executescript(_TABLES)
            self._bound(path.stat().st_size)
            self._connection.executemany(
                "INSERT OR IGNORE INTO wanted SELECT number, id, length FROM chunk WHERE id = ?",
                ((chunk_id,) for chunk_id in ids),
            )
            for statement in _FILL:
                self._connection.execute(statement)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._damaged(error) from error

    def _bound(self, size_bytes: int) -> None:
        pages = _TEMPORARY_LEAST_PAGES + _TEMPORARY_SHARE * (size_bytes // schema.PAGE_BYTES)
        self._connection.execute(f"PRAGMA temp.max_page_count = {pages}")
        self._connection.set_progress_handler(self._step, _STEPS_AT_ONCE)

    def _step(self) -> bool:
        """Whether to leave off."""
        self._steps -= _STEPS_AT_ONCE
        return self._steps < 0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def chunks(self) -> list[tuple[ChunkId, int]]:
        """Those that the generation has, and the lengths of their plaintexts."""
        found = []
        for chunk_id, length in self._rows("SELECT id, length FROM wanted ORDER BY number"):
            if type(length) is not int:
                raise self._senseless()
            found.append((ChunkId(chunk_id), length))
        return found

    def uses(self, chunk_id: ChunkId) -> Iterator[Use]:
        """Where a chunk is used, in the order of its bytes."""
        for row in self._rows(
            "SELECT start, length, position, directory, name, size, mtime_ns, ctime_ns, inode"
            " FROM used WHERE chunk = (SELECT number FROM wanted WHERE id = ?) ORDER BY start",
            chunk_id,
        ):
            start, length, position, directory, name, *status = row
            numbers = (start, length, position)
            if not all(type(n) is int and 0 <= n < _NUMBER_MAX for n in numbers):
                raise self._senseless()
            path = self._path_of(directory, name)
            yield Use(start, length, position, path, FileStatus(*status))

    def entries(self, chunks: Iterable[ChunkId]) -> Iterator[tuple[int, bytes]]:
        """Files that use any of ``chunks``: numbers of their directories, and their names.

        One that uses several comes several times.
        """
        for chunk_id in chunks:
            yield from self._rows(
                "SELECT directory, name FROM used"
                " WHERE chunk = (SELECT number FROM wanted WHERE id = ?)",
                chunk_id,
            )

    def paths(self, limit_bytes: int = PATHS_BYTES_MAX) -> tuple[list[bytes], bool]:
        """Paths of files that use any of the chunks, in byte order; and whether that is all.

        Not more than ``limit_bytes`` of them.
        """
        found: list[bytes] = []
        for directory, name in self._rows("SELECT DISTINCT directory, name FROM used"):
            path = self._path_of(directory, name)
            limit_bytes -= len(path) + sys.getsizeof(b"")
            if limit_bytes < 0:
                return sorted(found), False
            found.append(path)
        return sorted(found), True

    def _path_of(self, directory: int, name: bytes) -> bytes:
        names, length = [name], len(name)
        for _ in range(_DEPTH_MAX):
            if directory == ROOT_DIRECTORY:
                break
            row = self._connection.execute(
                "SELECT directory, name FROM place WHERE number = ?", (directory,)
            ).fetchone()
            if row is None:
                raise DamagedGeneration(str(self._path), f"it has no directory {directory}")
            directory, name = row
            if type(name) is not bytes:
                raise self._senseless()
            names.append(name)
            length += 1 + len(name)
            if length > _PATH_BYTES_MAX + NAME_MAX:
                raise DamagedGeneration(str(self._path), "its directories are too deep")
        else:
            raise DamagedGeneration(str(self._path), "its directories form a loop")
        if names[-1] == b"/":
            names[-1] = b""
        return b"/".join(reversed(names))

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        try:
            # Not `yield from`: see `obnam.generation.local`.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _senseless(self) -> DamagedGeneration:
        problem = "its database is damaged (an entry makes no sense)"
        return DamagedGeneration(str(self._path), problem)

    def _damaged(self, error: sqlite3.DatabaseError) -> DamagedGeneration:
        if self._steps < 0:
            problem = "its database is damaged (it has more rows than there can be)"
            return DamagedGeneration(str(self._path), problem)
        return DamagedGeneration(str(self._path), f"its database is damaged ({error})")
