"""An index of version 1.0 is brought up when it is opened, and nothing is lost by it."""

import sqlite3
from pathlib import Path

from obnam_server.store.store import Store
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    Clock,
    all_right,
    back_up,
    generation_id,
    held,
    index_path,
    rebuilt_rows,
    segment_paths,
)

FIRST = Path(__file__).with_name("index-1.0.sql")
SINCE = ("register", "gone", "scrub_passes", "scrub_problems", "leaving")
"""Tables that came with 1.1."""


def turn_back(path: Path) -> None:
    """Make an index of version 1.0 with the same rows."""
    new = path.with_name("old.sqlite")
    connection = sqlite3.connect(new)
    connection.executescript(FIRST.read_text())
    connection.execute("ATTACH ? AS now", (str(path),))
    for (table,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'"):
        columns = ", ".join(
            row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")
        )
        if not table.startswith("sqlite_"):
            connection.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}"
            )
    connection.execute("DELETE FROM main.meta WHERE name = 'used_bytes'")
    connection.execute("UPDATE main.meta SET value = 0 WHERE name = 'schema_version_minor'")
    connection.commit()
    connection.execute("DETACH now")
    connection.close()
    new.replace(path)


def schema_of(path: Path) -> dict[str, list[str]]:
    """Tables and indexes, with their columns."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
    found = {
        name: sorted(
            str(row[-1 if pragma == "index_info" else 1])
            for pragma in ("table_info", "index_info")
            for row in connection.execute(f"PRAGMA {pragma}({name})")
        )
        for name in names
    }
    connection.close()
    return found


def test_it_is_brought_up(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", "ab")
    back_up(home, ALICE, "two", "bc")
    back_up(home, BOB, "theirs", "cd")
    store.close()
    path = index_path(data)
    before, schema = rebuilt_rows(path), schema_of(path)
    turn_back(path)
    assert not set(SINCE) & schema_of(path).keys()
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert home.problems == []
    assert home.used_bytes() == sum(p.stat().st_size for p in segment_paths(data))
    assert held(home, "abcd") == all_right("abcd")
    home.change(home.decisions.delete, [generation_id("one")], "admin", "old")
    home.change(home.decisions.undelete, [generation_id("one")])
    store.close()
    after = rebuilt_rows(path)
    assert schema_of(path) == schema
    assert after["chunks"] == before["chunks"]
    assert [row[:14] for row in after["generations"]] == [row[:14] for row in before["generations"]]
