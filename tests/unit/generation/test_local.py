"""Reading a generation: order, paths, reasons; and databases that lead in circles."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from obnam.errors import DamagedGeneration
from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import NascentGeneration
from obnam.generation.rows import ChunkRow, ExtentRow
from obnam.model.entry import Kind, Reason
from tests.unit.generation.rows import ERROR, chunk_id, directory_row, finished, row

Fill = Callable[[NascentGeneration], None]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., LocalGeneration]:
    def make(fill: Fill, sequence: int = 3) -> LocalGeneration:
        return finished(tmp_path / "database", fill, sequence)

    return make


def paths(local: LocalGeneration) -> list[bytes]:
    try:
        return [entry.path for entry in local.walk()]
    finally:
        local.close()


def test_a_directory_comes_before_what_is_in_it(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(0, b"/z", 1), directory_row(0, b"/a/b", 2)])
        nascent.put([row(1, b"file"), directory_row(2, b"dir", 3), row(2, b"dir.txt")])
        nascent.put([row(3, b"\xff"), row(3, b"Z"), row(3, b"a"), row(2, b"dir0")])

    assert paths(made(fill)) == [
        b"/a/b", b"/a/b/dir", b"/a/b/dir/Z", b"/a/b/dir/a", b"/a/b/dir/\xff",
        b"/a/b/dir.txt", b"/a/b/dir0", b"/z", b"/z/file",
    ]  # fmt: skip


def test_the_root_of_the_file_system(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(0, b"/", 1), directory_row(1, b"etc", 2), row(2, b"passwd")])

    assert paths(made(fill)) == [b"/", b"/etc", b"/etc/passwd"]


def test_reasons_are_those_of_this_generation(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        for reason in (Reason.NEW, Reason.CHANGED, Reason.ERROR, Reason.SKIPPED):
            for since in (2, 3):
                name = f"{reason.word} {since}".encode()
                nascent.put([row(0, name, reason=reason.value, since=since)])

    local = made(fill)
    assert {entry.path.decode(): entry.reason for entry in local.walk()} == {
        "new 2": Reason.UNCHANGED,
        "new 3": Reason.NEW,
        "changed 2": Reason.UNCHANGED,
        "changed 3": Reason.CHANGED,
        "error 2": Reason.ERROR,
        "error 3": Reason.ERROR,
        "skipped 2": Reason.SKIPPED,
        "skipped 3": Reason.SKIPPED,
    }
    local.close()


def test_beneath_a_failed_directory_all_is_old(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(0, b"/r", 1), row(1, b"z")])
        nascent.put([directory_row(1, b"bad", 2, reason=ERROR), directory_row(2, b"dir", 3)])
        nascent.put([row(3, b"file", reason=Reason.CHANGED.value, since=3)])

    local = made(fill, 9)
    assert {entry.path: entry.reason for entry in local.walk()} == {
        b"/r": Reason.UNCHANGED, b"/r/z": Reason.UNCHANGED, b"/r/bad": Reason.ERROR,
        b"/r/bad/dir": Reason.ERROR, b"/r/bad/dir/file": Reason.ERROR,
    }  # fmt: skip
    local.close()


def test_a_deep_tree(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put(directory_row(n, b"d" if n else b"/d", n + 1) for n in range(2000))

    deepest = paths(made(fill))[-1]
    assert deepest == b"/d" * 2000


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_tree_that_leads_back_into_itself(
    made: Callable[..., LocalGeneration], number: int
) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(0, b"/r", 1), directory_row(1, b"d", 2)])
        nascent.put([directory_row(2, b"loop", number)])

    with pytest.raises(DamagedGeneration, match="loop"):
        paths(made(fill))


def test_a_walk_that_is_given_up(made: Callable[..., LocalGeneration]) -> None:
    local = made(lambda nascent: nascent.put([directory_row(0, b"/r", 1), row(1, b"a")]))
    walk = local.walk()
    assert next(walk).path == b"/r"
    assert next(walk).path == b"/r/a"
    local.close()
    del walk  # without a word


def test_extents(made: Callable[..., LocalGeneration]) -> None:
    several = [ExtentRow(0, 1, 5, 10), ExtentRow(20, 1, 0, 3)]

    def fill(nascent: NascentGeneration) -> None:
        nascent.add_chunks([(chunk_id(1), 100)])
        nascent.put_extents(4, several)
        nascent.put([row(0, b"one", chunk=1, start=5, size=10), row(0, b"several", number=4)])
        nascent.put([row(0, b"none", size=0), directory_row(0, b"dir", 4)])
        nascent.count_uses({1: 1})

    local = made(fill)
    extents = {entry.path: local.extents(entry.row) for entry in local.walk()}
    assert extents == {
        b"one": [ExtentRow(0, 1, 5, 10)], b"several": several, b"none": [], b"dir": [],
    }  # fmt: skip
    assert local.chunk(1) == ChunkRow(1, chunk_id(1), 100)
    with pytest.raises(DamagedGeneration, match="chunk 2 is not in"):
        local.chunk(2)
    local.close()


def test_chunks_that_are_none(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent._connection.execute("INSERT INTO chunk VALUES (1, x'0102', 5, 1)")

    local = made(fill)
    with pytest.raises(DamagedGeneration, match=r"chunk 1 .* is damaged"):
        local.chunk(1)
    local.close()


def test_looking_up(made: Callable[..., LocalGeneration]) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(1, b"d", 2), row(1, b"b"), row(1, b"a"), row(2, b"c")])
        nascent.put([row(1, b"l", Kind.SYMLINK, target=b"x")])

    local = made(fill)
    assert local.entry(1, b"a") == row(1, b"a")
    assert local.entry(1, b"c") is None
    assert [each.name for each in local.directories_in(1)] == [b"d"]
    lists = [[each.name for each in rows] for rows in local.rows_in(1, 3)]
    assert lists == [[b"a", b"b", b"d"], [b"l"]]
    assert list(local.rows_in(1, 4)) == [list(chain.from_iterable(local.rows_in(1, 3)))]
    assert list(local.rows_in(9, 3)) == []
    local.close()
