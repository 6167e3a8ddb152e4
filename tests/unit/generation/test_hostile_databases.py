"""Databases that no backup makes, by someone who has the keys: told, and never without an end."""

import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from obnam.errors import DamagedGeneration
from obnam.generation import schema
from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import NascentGeneration
from obnam.generation.sound import Numbers, are_in_order
from tests.unit.generation.rows import directory_row, finished, row

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "database"
    rows = [directory_row(0, b"/root", 1), row(1, b"a"), row(1, b"b"), row(1, b"c")]
    finished(path, lambda nascent: nascent.put(rows)).close()
    return path


def change(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()


@pytest.fixture(params=[LocalGeneration, lambda path: NascentGeneration.begin_from(path, 2)])
def opener(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    opener: Callable[[Path], object] = request.param
    return opener


@pytest.mark.parametrize(
    "sql",
    [
        f"DROP TABLE meta; CREATE VIEW meta AS {ENDLESS} i AS name, i AS value FROM n",
        f"DROP TABLE chunk; CREATE VIEW chunk AS {ENDLESS} i AS number, x'' AS id FROM n",
        "CREATE VIEW more AS SELECT * FROM entry",
        "CREATE TRIGGER keep AFTER DELETE ON entry BEGIN INSERT INTO entry SELECT OLD.*; END",
        "CREATE INDEX by_size ON entry (zeroblob(size))",
        "CREATE VIRTUAL TABLE more USING fts5 (text)",
        "ALTER TABLE extent ADD COLUMN more AS (zeroblob(1000000000))",
        "ALTER TABLE entry ADD COLUMN more INTEGER",
        "DROP TABLE extent",
        "DROP TABLE chunk; CREATE TABLE chunk (number INTEGER PRIMARY KEY, id, length, uses)",
    ],
)
def test_other_things_than_the_tables(
    path: Path, opener: Callable[[Path], object], sql: str
) -> None:
    change(path, sql)
    with pytest.raises(DamagedGeneration):
        opener(path)


def test_more_tables_are_a_later_versions(path: Path) -> None:
    change(path, "CREATE TABLE more (text TEXT)")
    LocalGeneration(path).close()


@pytest.mark.parametrize("value", ["1.5e400", "x'00'", "'many'"])
def test_a_sequence_that_is_no_number(path: Path, value: str) -> None:
    change(path, f"UPDATE meta SET value = {value} WHERE name = 'sequence'")
    with pytest.raises(DamagedGeneration):
        LocalGeneration(path)


@pytest.mark.parametrize(
    "columns",
    [
        "name = 'text'",
        "name = x''",
        "name = x'2e2e'",
        "name = x'612f62'",
        "name = CAST(printf('%.*c', 4096, 'x') AS BLOB)",
        "kind = 99",
        "kind = x'01'",
        "reason = 0",
        "reason = 'new'",
        "mode = 'all'",
        "mtime_ns = 1.5",
        "target = 'text'",
        "size = x'01'",
    ],
)
def test_rows_that_make_no_sense_are_told(path: Path, columns: str) -> None:
    change(path, f"UPDATE entry SET {columns} WHERE name = x'62'")
    local = LocalGeneration(path)
    with pytest.raises(DamagedGeneration):
        list(local.walk())
    local.close()


def test_directories_that_are_in_each_other_twice(tmp_path: Path) -> None:
    """Each has the next one twice: without a loop, 2 ** 60 entries."""
    rows = [directory_row(0, b"/r", 1)]
    for number in range(1, 60):
        rows += [directory_row(number, name, number + 1) for name in (b"a", b"b")]
    local = finished(tmp_path / "database", lambda nascent: nascent.put(rows))
    with pytest.raises(DamagedGeneration, match="twice"):
        list(islice(local.walk(), 1000))
    local.close()


def test_paths_that_are_too_long(tmp_path: Path) -> None:
    """The paths of all directories on the way down would take gigabytes."""
    rows = [directory_row(n, b"d" * 255 if n else b"/d", n + 1) for n in range(1000)]
    local = finished(tmp_path / "database", lambda nascent: nascent.put(rows))
    with pytest.raises(DamagedGeneration, match="too deep"):
        list(local.walk())
    local.close()


def test_directories_that_are_too_deep(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With short names."""
    path.unlink()
    rows = [directory_row(n, b"d" if n else b"/d", n + 1) for n in range(8)]
    local = finished(path, lambda nascent: nascent.put(rows))
    assert len(list(local.walk())) == 8
    monkeypatch.setattr("obnam.generation.local._DEPTH_MAX", 7)
    with pytest.raises(DamagedGeneration, match="too deep"):
        list(local.walk())
    local.close()


@pytest.mark.parametrize("name", ["x'2f610062'", "'/text'"])
def test_a_root_that_is_no_path(path: Path, name: str) -> None:
    change(path, f"UPDATE entry SET name = {name} WHERE directory = 0")
    local = LocalGeneration(path)
    with pytest.raises(DamagedGeneration):
        list(local.walk())
    local.close()


def test_a_tree_of_pages_that_has_one_of_them_again_and_again(tmp_path: Path) -> None:
    """A few such levels would be more rows than can be read in a life."""
    path = tmp_path / "database"
    rows = [directory_row(0, b"/root", 1), *(row(1, b"%0200d" % n) for n in range(100))]
    finished(path, lambda nascent: nascent.put(rows)).close()
    repeat_a_page(path)
    local = LocalGeneration(path)
    with pytest.raises(DamagedGeneration, match="order"):
        list(local.walk())
    for at_once in (8, 1):
        with pytest.raises(DamagedGeneration, match="order"):
            list(islice(local.rows_in(1, at_once), 1000))
    local.close()


def repeat_a_page(path: Path) -> None:
    """Let each cell of the table's topmost page lead to one page."""
    connection = sqlite3.connect(path)
    (root,) = connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'entry'"
    ).fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    start = (root - 1) * schema.PAGE_BYTES
    assert data[start] == 2, "an inner page of an index"
    cells = int.from_bytes(data[start + 3 : start + 5], "big")
    assert cells > 3
    at = [
        start + int.from_bytes(data[start + 12 + 2 * n : start + 14 + 2 * n], "big")
        for n in range(cells)
    ]
    for cell in at[2:]:
        data[cell : cell + 4] = data[at[1] : at[1] + 4]
    path.write_bytes(data)


def test_a_value_that_is_larger_than_any(path: Path) -> None:
    change(path, f"UPDATE entry SET attributes = zeroblob({schema.VALUE_MAX + 1}) WHERE kind = 1")
    local = LocalGeneration(path)
    with pytest.raises(DamagedGeneration, match="too big"):
        list(local.rows_in(1, 100))
    local.close()


@pytest.mark.parametrize(
    ("names", "after", "good"),
    [
        ([b"a", b"b"], None, True),
        ([b"b", b"c"], b"a", True),
        ([b"b", b"c"], b"b", False),
        ([b"a", b"a"], None, False),
        ([b"b", b"a"], None, False),
        ([1, 1.5, "a", "b", b""], None, True),
        (["a", "a"], None, False),
        (["b"], "b", False),
        ([b"a", "b"], None, False),
        ([None, None], None, False),
    ],
)
def test_what_is_in_order(names: list[Any], after: Any, good: bool) -> None:
    assert are_in_order(names, after) == good


def test_numbers_far_from_each_other() -> None:
    """Each may cost some hundred bytes, not pages."""
    numbers = Numbers()
    few = [-(1 << 63), -1, 0, 1, 1023, 1024, (1 << 63) - 1]
    assert [numbers.add(number) for number in few] == [True] * len(few)
    assert [numbers.add(number) for number in few] == [False] * len(few)
    assert sum(map(len, numbers._pages.values())) <= 128 * len(few)
