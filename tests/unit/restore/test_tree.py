"""The order in which a generation is restored, and that memory does not grow with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import NascentGeneration
from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind
from obnam.restore import tree
from obnam.restore.check import NO_CONTENT, NO_NAME
from obnam.restore.tree import Directory, Entries, Problem, Tree, path_of, select
from tests.support.memory_scene import entry_row
from tests.unit.generation.rows import finished

Made = Callable[[Callable[[NascentGeneration], None]], LocalGeneration]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    opened: list[LocalGeneration] = []

    def make(fill: Callable[[NascentGeneration], None]) -> LocalGeneration:
        opened.append(finished(tmp_path / "database", fill))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def file_row(directory: int, name: bytes) -> EntryRow:
    return entry_row(directory, name, size=0, checksum=bytes(16))


def directory_row(directory: int, name: bytes, number: int) -> EntryRow:
    return entry_row(directory, name, Kind.DIRECTORY, number=number)


def wide(nascent: NascentGeneration) -> None:
    """``/r`` with seven directories among seven files; in each of those, one of each."""
    nascent.put([directory_row(0, b"/r", 1)])
    for nth in range(7):
        inside = 10 + nth
        nascent.put([directory_row(1, b"%d" % nth, inside), file_row(1, b"%d.file" % nth)])
        nascent.put([directory_row(inside, b"d", 20 + nth), file_row(inside, b"f")])


def seen(found: Iterator[Directory | Entries | Problem]) -> list[bytes]:
    """The paths that come, those of directories with a slash behind them."""
    paths: list[bytes] = []
    for each in found:
        assert not isinstance(each, Problem)
        if isinstance(each, Directory):
            paths.append(path_of(each.parts) + b"/")
        else:
            paths.extend(path_of((*each.parts, row.name)) for row in each.rows)
    return paths


@pytest.mark.parametrize("at_once", [1, 3, 6, 7, 1024])
def test_a_directory_then_its_own_files_then_its_directories(
    made: Made, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(tree, "ROWS_AT_ONCE", at_once)
    paths = seen(Tree(made(wide)).entries())
    assert paths[:8] == [b"/r/", *(b"/r/%d.file" % nth for nth in range(7))]
    assert paths[8:] == [
        path % nth for nth in range(7) for path in (b"/r/%d/", b"/r/%d/f", b"/r/%d/d/")
    ]


@pytest.mark.parametrize("at_once", [1, 1024])
def test_what_is_not_selected_is_left_out(
    made: Made, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(tree, "ROWS_AT_ONCE", at_once)
    selected = select([b"/r/1.file", b"/r/3", b"/r/4/f", b"/r/5"])
    assert seen(Tree(made(wide), selected).entries()) == [
        b"/r/", b"/r/1.file",
        b"/r/3/", b"/r/3/f", b"/r/3/d/", b"/r/4/", b"/r/4/f", b"/r/5/", b"/r/5/f", b"/r/5/d/",
    ]  # fmt: skip


def test_a_root_that_is_not_selected_is_left_out(made: Made) -> None:
    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(0, b"/p/q", 1), directory_row(0, b"/r", 2)])
        nascent.put([file_row(1, b"f"), file_row(2, b"g")])

    generation = made(fill)
    assert seen(Tree(generation, select([b"/p/q/f"])).entries()) == [b"/p/", b"/p/q/", b"/p/q/f"]
    assert seen(Tree(generation, select([b"/r"])).entries()) == [b"/r/", b"/r/g"]


@pytest.mark.parametrize("at_once", [1, 1024])
def test_each_wrong_entry_is_named_once(
    made: Made, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(tree, "ROWS_AT_ONCE", at_once)

    def fill(nascent: NascentGeneration) -> None:
        nascent.put([directory_row(0, b"/r", 1), directory_row(1, b"a", 2)])
        nascent.put([directory_row(1, b"b", 3), directory_row(1, b"b/../c", 4)])
        nascent.put([directory_row(1, b"c", 5)._replace(mode=None)])
        nascent.put([file_row(1, b".."), file_row(1, b"z")])

    found = list(Tree(made(fill)).entries())
    assert [each for each in found if isinstance(each, Problem)] == [
        Problem(b"/r/..", NO_NAME),
        Problem(b"/r/b/../c", NO_NAME),
        Problem(b"/r/c", NO_CONTENT),
    ]
    assert seen(each for each in found if not isinstance(each, Problem)) == [
        b"/r/", b"/r/z", b"/r/a/", b"/r/b/",
    ]  # fmt: skip
