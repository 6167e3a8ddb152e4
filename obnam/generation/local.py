"""A generation whose database is on this machine, read only. Blocking."""

import sqlite3
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from attrs import frozen

from obnam.errors import DamagedGeneration
from obnam.generation import schema
from obnam.generation.nascent import ROOT_DIRECTORY
from obnam.generation.rows import ChunkRow, EntryRow, ExtentRow
from obnam.generation.sound import Numbers, are_in_order, is_sound
from obnam.model.entry import Kind, Reason
from obnam.model.ids import parse_chunk_id

_COLUMNS = ", ".join(EntryRow._fields)
_name_of = attrgetter("name")

_DEPTH_MAX = 5_000
_PATH_BYTES_MAX = 72 << 10
"""More than a backup goes down (`obnam.live.scan.DEPTH_MAX`): the paths of all directories on the
way down are kept."""

_META_MAX = 1000
"""Members of ``meta``: more than a version will have."""


@frozen
class LocalEntry:
    """An entry on the way through the tree: its whole path, row, and effective reason."""

    path: bytes
    row: EntryRow
    reason: Reason


class LocalGeneration:
    """The database of a committed generation. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        """Raises ``DamagedGeneration`` or ``UnknownFormat`` when it cannot be used."""
        self.path = path
        self._connection = schema.open_to_read(path)
        try:
            self.meta = dict(
                self._connection.execute("SELECT name, value FROM meta LIMIT ?", (_META_MAX,))
            )
            self.sequence = int(self.meta["sequence"])
        except (sqlite3.DatabaseError, KeyError, ValueError, TypeError, OverflowError) as error:
            self._connection.close()
            raise DamagedGeneration(str(path), f"its database is damaged ({error})") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def walk(self) -> Iterator[LocalEntry]:
        """All entries, a directory before what is in it, names in byte order.

        Memory is bounded by the largest directory's rows on the way down, not by their number in
        all. Entries beneath a directory that could not be read are as old as its last good
        backup; their reason is ``error`` too.
        """
        # One open cursor a level: the rows of a directory are read as they are needed.
        levels = [(b"", False, self._rows(ROOT_DIRECTORY))]
        seen = Numbers()
        seen.add(ROOT_DIRECTORY)
        while levels:
            prefix, stale, rows = levels[-1]
            row = next(rows, None)
            if row is None:
                levels.pop()
                continue
            if not is_sound(row, root=not prefix):
                raise self._senseless("an entry")
            path = prefix + row.name
            reason = Reason.ERROR if stale else self.reason_of(row)
            yield LocalEntry(path, row, reason)
            if row.kind == Kind.DIRECTORY and row.number is not None:
                if not seen.add(row.number):
                    raise DamagedGeneration(
                        str(self.path), "a directory is in it twice, or its directories form a loop"
                    )
                if len(levels) > _DEPTH_MAX or len(path) > _PATH_BYTES_MAX:
                    raise DamagedGeneration(str(self.path), "its directories are too deep")
                inside = path if path == b"/" else path + b"/"
                levels.append((inside, reason is Reason.ERROR, self._rows(row.number)))

    def reason_of(self, row: EntryRow) -> Reason:
        """The reason in this generation: errors stay errors, older reasons are ``unchanged``."""
        if row.reason == Reason.ERROR or row.reason == Reason.SKIPPED:
            return Reason(row.reason)
        return Reason(row.reason) if row.since == self.sequence else Reason.UNCHANGED

    def extents(self, row: EntryRow) -> list[ExtentRow]:
        """Where the content of a file lies, by position; what is left out is a hole."""
        if row.chunk is not None and row.start is not None:
            return [ExtentRow(0, row.chunk, row.start, row.size or 0)]
        if row.number is None or row.kind != Kind.FILE:
            return []
        return list(self.read_extents(row))

    def read_extents(self, row: EntryRow) -> Iterator[ExtentRow]:
        """The extents of a file in several, by position, read as they are needed."""
        for extent in self._query(
            "SELECT position, chunk, start, length FROM extent WHERE file = ? ORDER BY position",
            row.number,
        ):
            yield ExtentRow._make(extent)

    def chunk(self, number: int) -> ChunkRow:
        """One chunk. Raises ``DamagedGeneration`` when it is not there, or is none."""
        for number_, chunk_id, length in self._query(
            "SELECT number, id, length FROM chunk WHERE number = ?", number
        ):
            try:
                return ChunkRow(number_, parse_chunk_id(chunk_id), length)
            except (ValueError, TypeError) as error:
                raise DamagedGeneration(
                    str(self.path), f"chunk {number} in its database is damaged"
                ) from error
        raise DamagedGeneration(str(self.path), f"chunk {number} is not in its database")

    def entry(self, directory: int, name: bytes) -> EntryRow | None:
        """One entry by its directory's number and its name."""
        for row in self._query(
            f"SELECT {_COLUMNS} FROM entry WHERE directory = ? AND name = ?", directory, name
        ):
            return EntryRow._make(row)
        return None

    def rows_in(self, directory: int, at_once: int) -> Iterator[list[EntryRow]]:
        """All entries in a directory, names in byte order, in lists of at most ``at_once``."""
        sql = f"SELECT {_COLUMNS} FROM entry WHERE directory = ? ORDER BY name"
        try:
            cursor = self._connection.execute(sql, (directory,))
            full, last = True, None
            while full and (rows := cursor.fetchmany(at_once)):
                full = len(rows) == at_once
                found = list(map(EntryRow._make, rows))
                if not are_in_order(list(map(_name_of, found)), last):
                    raise self._senseless("the order of its entries")
                last = found[-1].name
                yield found
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def directories_in(self, directory: int) -> Iterator[EntryRow]:
        """The directories in a directory, names in byte order."""
        return map(
            EntryRow._make,
            self._query(
                f"SELECT {_COLUMNS} FROM entry WHERE directory = ? AND kind = ? ORDER BY name",
                directory,
                Kind.DIRECTORY.value,
            ),
        )

    def _rows(self, directory: int) -> Iterator[EntryRow]:
        last = None
        for found in self._query(
            f"SELECT {_COLUMNS} FROM entry WHERE directory = ? ORDER BY name", directory
        ):
            row = EntryRow._make(found)
            if last is not None and not are_in_order((row.name,), last):
                raise self._senseless("the order of its entries")
            last = row.name
            yield row

    def _query(self, sql: str, *arguments: object) -> Iterator[tuple[Any, ...]]:
        try:
            # Not `yield from`: that would close the cursor of a walk that is given up, which fails
            # when the generation was closed before.
            for row in self._connection.execute(sql, arguments):  # noqa: UP028
                yield row
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _senseless(self, what: str) -> DamagedGeneration:
        return DamagedGeneration(str(self.path), f"its database is damaged ({what} makes no sense)")

    def _damaged(self, error: sqlite3.DatabaseError) -> DamagedGeneration:
        return DamagedGeneration(str(self.path), f"its database is damaged ({error})")
