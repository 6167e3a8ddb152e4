"""Rows as the tests write them, and nascent generations that were finished."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import NascentGeneration
from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind, Reason
from obnam.model.ids import ChunkId

_NOTHING = EntryRow(0, b"", 1, 1, 1, *(None,) * 14)


def row(directory: int, name: bytes, kind: Kind = Kind.FILE, **columns: Any) -> EntryRow:
    """A row; a file has a checksum, so that it counts as one with content."""
    made = _NOTHING._replace(directory=directory, name=name, kind=kind.value, mode=0o644)
    if kind is Kind.FILE:
        made = made._replace(checksum=bytes(16), size=10)
    return made._replace(**columns)


def directory_row(directory: int, name: bytes, number: int, **columns: Any) -> EntryRow:
    """The row of a directory."""
    return row(directory, name, Kind.DIRECTORY, number=number, **columns)


def chunk_id(number: int) -> ChunkId:
    """A chunk id that is easily told."""
    return ChunkId(bytes([1]) + number.to_bytes(32, "big"))


def describe(nascent: NascentGeneration) -> None:
    """Write down as much as a reader wants."""
    nascent.describe({"generation": "0" * 32, "sequence": nascent.sequence})


def finished(
    path: Path, fill: Callable[[NascentGeneration], None], sequence: int = 1
) -> LocalGeneration:
    """A generation made by ``fill``, opened."""
    nascent = NascentGeneration.create(path, sequence)
    fill(nascent)
    describe(nascent)
    nascent.finish()
    nascent.close()
    return LocalGeneration(path)


def entry_count(path: Path) -> int:
    """How many rows a finished database has for entries, reachable or not."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM entry").fetchone()[0])
    finally:
        connection.close()


def uses(path: Path) -> dict[int, int]:
    """Chunks of a finished database by number, and how often they are used."""
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT number, uses FROM chunk"))
    finally:
        connection.close()


ERROR = Reason.ERROR.value
