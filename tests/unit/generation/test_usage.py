"""Which files use a chunk, asked of a database that somebody else may have made."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from obnam.errors import DamagedGeneration
from obnam.generation import usage as usages
from obnam.generation.nascent import NascentGeneration
from obnam.generation.usage import Usage
from tests.unit.generation.rows import chunk_id, directory_row, finished, row
from tests.unit.generation.test_hostile_databases import change, repeat_a_page

CHUNK = chunk_id(1)


def made(path: Path, fill: Callable[[NascentGeneration], None]) -> Path:
    def whole(nascent: NascentGeneration) -> None:
        assert nascent.add_chunks([(CHUNK, 1000)]) == {CHUNK: 1}
        nascent.count_uses({1: 1})
        fill(nascent)

    finished(path, whole).close()
    return path


def some_files(nascent: NascentGeneration) -> None:
    files = [row(1, b"%0200d" % n, chunk=1, start=n, size=1) for n in range(100)]
    nascent.put([directory_row(0, b"/", 1), *files])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return made(tmp_path / "database", some_files)


def test_files_and_where_their_bytes_lie(path: Path) -> None:
    with closing(Usage(path, [CHUNK, chunk_id(2)])) as usage:
        assert usage.chunks() == [(CHUNK, 1000)]
        assert [use.start for use in usage.uses(CHUNK)] == list(range(100))
        assert usage.paths() == ([b"/%0200d" % n for n in range(100)], True)
        assert sorted(usage.entries([CHUNK])) == [(1, b"%0200d" % n) for n in range(100)]


def test_more_paths_than_are_wanted(path: Path) -> None:
    with closing(Usage(path, [CHUNK])) as usage:
        found, is_all = usage.paths(limit_bytes=1000)
        assert not is_all
        assert 0 < len(found) < 5


def test_pages_that_come_again_and_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spent on a database hangs on its size, not on what it says."""
    repeat_a_page(path)
    monkeypatch.setattr(usages, "_STEPS_LEAST", 0)
    monkeypatch.setattr(usages, "_STEPS_A_BYTE", 0)
    monkeypatch.setattr(usages, "_STEPS_AT_ONCE", 100)
    with pytest.raises(DamagedGeneration, match="more rows than there can be"):
        Usage(path, [CHUNK])


def test_more_than_the_temporary_tables_may_take(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name of a file goes with each part of it: few rows may be many uses."""
    change(
        path,
        "UPDATE entry SET chunk = NULL, number = 1 WHERE kind = 1;"
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
        " INSERT INTO extent SELECT 1, i, 1, i, 1 FROM n",
    )
    with closing(Usage(path, [CHUNK])) as usage:
        assert len(list(usage.uses(CHUNK))) == 100 * 1000
    monkeypatch.setattr(usages, "_TEMPORARY_LEAST_PAGES", 100)
    with pytest.raises(DamagedGeneration, match="full"):
        Usage(path, [CHUNK])


@pytest.mark.parametrize("column", ["start", "size"])
@pytest.mark.parametrize("value", ["NULL", "'text'", "-1", "1.5"])
def test_numbers_that_are_none(path: Path, column: str, value: str) -> None:
    change(path, f"UPDATE entry SET {column} = {value} WHERE kind = 1")
    with closing(Usage(path, [CHUNK])) as usage, pytest.raises(DamagedGeneration):
        list(usage.uses(CHUNK))


@pytest.mark.parametrize("length", ["'text'", "1.5", "x'01'"])
def test_a_length_that_is_none(path: Path, length: str) -> None:
    change(path, f"UPDATE chunk SET length = {length}")
    with closing(Usage(path, [CHUNK])) as usage, pytest.raises(DamagedGeneration):
        usage.chunks()


@pytest.mark.parametrize("name", ["'text'", "5", "zeroblob(5000)"])
def test_names_that_are_none(path: Path, name: str) -> None:
    change(path, f"UPDATE entry SET name = {name} WHERE start = 7")
    with closing(Usage(path, [CHUNK])) as usage:
        assert len(usage.paths()[0]) == 99


def test_directories_that_are_none(path: Path) -> None:
    for directory, told in ((1, "loop"), (9, "no directory 9")):
        change(path, f"UPDATE entry SET directory = {directory} WHERE kind = 2")
        with closing(Usage(path, [CHUNK])) as usage, pytest.raises(DamagedGeneration, match=told):
            usage.paths()


def test_paths_that_are_too_long(tmp_path: Path) -> None:
    """Each of many files may lie below the same few thousand directories."""
    rows = [directory_row(n, b"d" * 255 if n else b"/d", n + 1) for n in range(1000)]
    path = made(
        tmp_path / "database",
        lambda nascent: nascent.put([*rows, row(1000, b"f", chunk=1, start=0)]),
    )
    with closing(Usage(path, [CHUNK])) as usage, pytest.raises(DamagedGeneration, match="deep"):
        usage.paths()


def test_a_damaged_page(path: Path) -> None:
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_schema WHERE name = 'entry'"
    (root,) = connection.execute(query).fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(DamagedGeneration):
        Usage(path, [CHUNK])
