"""Writes rows of entries: for each of a hundred thousand files of a first backup, so it is short.

Python's sqlite3 looks for an adapter of each value that is `bytes` or None, and not of bytearrays:
with those, and without the columns that most rows have nothing in, this takes half the time.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from obnam.generation.rows import EntryRow, WholeFile
from obnam.model.entry import Kind

_WHOLE = (
    "INSERT OR REPLACE INTO entry (directory, name, reason, since, mode, uid, gid, size, mtime_ns,"
    " ctime_ns, inode, checksum, chunk, start, kind)"
    f" VALUES ({', '.join('?' * 14)}, {Kind.FILE.value})"
)
_BARE = (
    "INSERT OR REPLACE INTO entry (directory, name, kind, reason, since, mode, uid, gid, mtime_ns,"
    f" ctime_ns, inode, number, target) VALUES ({', '.join('?' * 13)})"
)
_ANY = f"INSERT OR REPLACE INTO entry VALUES ({', '.join('?' * len(EntryRow._fields))})"


def insert_whole(
    connection: sqlite3.Connection, files: Iterable[WholeFile], numbers: Sequence[int]
) -> None:
    """Write rows of files that lie in one chunk each, given as an index into ``numbers``."""
    connection.executemany(
        _WHOLE,
        (
            (d, bytearray(name), *middle, bytearray(checksum), numbers[piece], start)
            for d, name, *middle, checksum, piece, start in files
        ),
    )


def insert_entries(connection: sqlite3.Connection, rows: Iterable[EntryRow]) -> None:
    """Write rows of any kind."""
    bare: list[tuple[object, ...]] = []
    others: list[EntryRow] = []
    for row in rows:
        if row.size is None and row.device is None and row.attributes is None:
            # Directories and links, as most are.
            target = None if row.target is None else bytearray(row.target)
            head = (row.directory, bytearray(row.name), *row[2:8])
            bare.append((*head, *row[9:12], row.number, target))
        else:
            others.append(row)
    if bare:
        connection.executemany(_BARE, bare)
    if others:
        connection.executemany(_ANY, others)
