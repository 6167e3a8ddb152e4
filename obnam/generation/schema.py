"""Opening generation databases, and the rule of versions.

A database of schema x.y is understood by a program that knows x.z with z >= y.
"""

import re
import sqlite3
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from obnam.errors import DamagedGeneration, UnknownFormat

MAJOR, MINOR = 1, 0
PAGE_BYTES = 4096
"""SQLite's page, and the unit in which a generation database is stored."""

APPLICATION_ID = 0x4F424E4D
_CACHE_KIB = 16 * 1024
"""SQLite's page cache: bounds the memory, whatever the number of files."""

VALUE_MAX = 4 << 20
"""Bytes of a row, or of a value in it, that is read. The attributes of an entry have 1 MiB at most;
many rows can share the pages of one huge value, so that the file need not be large."""


def create(path: Path) -> sqlite3.Connection:
    """Make an empty database of schema 1.0 at ``path``, which must not exist."""
    path.touch(mode=0o600, exist_ok=False)
    connection = _connect(path, "rw")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _make_fast(connection)
    connection.executescript(_script())
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [
            ("schema_version_major", MAJOR),
            ("schema_version_minor", MINOR),
            ("next_directory", 1),
            ("next_file", 1),
            ("next_chunk", 1),
        ],
    )
    return connection


def open_to_change(path: Path) -> sqlite3.Connection:
    """Open a private copy of a database to make it the next generation's."""
    connection = _connect(path, "rw")
    check_version(connection, str(path))
    _make_fast(connection)
    connection.execute("BEGIN")
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a finished database; nothing can be changed through it."""
    connection = _connect(path, "ro")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_MAX)
    check_version(connection, str(path))
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("BEGIN")  # Else the file is locked, and looked at, anew for each query.
    return connection


def check_version(connection: sqlite3.Connection, what: str) -> None:
    """Raises ``UnknownFormat`` for a newer schema, ``DamagedGeneration`` for none.

    What is read must be the tables of our schema: what is called so could be a view without an end,
    and a trigger could undo what is written.
    """
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        found = _definitions(connection)
        if found.get("meta") != _expected()["meta"]:
            raise DamagedGeneration(what, "not a generation database (it has no meta)")
        versions = dict(
            connection.execute(
                "SELECT name, value FROM meta"
                " WHERE name IN ('schema_version_major', 'schema_version_minor')"
            )
        )
        major, minor = versions["schema_version_major"], versions["schema_version_minor"]
    except (sqlite3.DatabaseError, KeyError) as error:
        raise DamagedGeneration(what, f"not a generation database ({error})") from error
    if type(major) is not int or type(minor) is not int:
        raise DamagedGeneration(what, "not a generation database (no schema version)")
    if application != APPLICATION_ID:
        raise DamagedGeneration(what, "not a generation database (wrong application id)")
    if major != MAJOR or minor > MINOR:
        raise UnknownFormat("the generation database", f"{major}.{minor}", f"{MAJOR}.{MINOR}")
    if any(found.get(name) != definition for name, definition in _expected().items()):
        raise DamagedGeneration(what, "its database has other tables than a generation's")
    if not all(definition.startswith("CREATE TABLE ") for definition in found.values()):
        raise DamagedGeneration(what, "its database has more than tables")


def _definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """How each thing in a database was made, without comments and line breaks."""
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {name: " ".join(re.sub(r"--[^\n]*", "", sql).split()) for name, sql in rows}


@cache
def _expected() -> Mapping[str, str]:
    """The same of the tables of our schema."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_script())
        return _definitions(connection)
    finally:
        connection.close()


def _script() -> str:
    return files("obnam.generation").joinpath("sql/1.0.sql").read_text(encoding="utf-8")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where we say so. The connection is made
    # and used on one thread, but may be closed from another when a run is given up.
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except sqlite3.OperationalError as error:
        raise DamagedGeneration(str(path), f"its database cannot be opened ({error})") from error


def _make_fast(connection: sqlite3.Connection) -> None:
    """No journal and no fsync: a file that a crash leaves behind is thrown away, not recovered."""
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = FILE")
