"""Segments that are deleted, cut short or changed: named, never fatal, and healed by a backup."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam.errors import ChunksMissing
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.support.scrubbed import SLOT, flip
from tests.support.stored import (
    ALICE,
    HOME,
    Clock,
    all_right,
    back_up,
    body_of,
    chunk_id,
    commit_of,
    generation_id,
    held,
    index_path,
    put,
    rebuilt_rows,
    segment_paths,
)

CHUNKS_1, COMMIT_1, KEYRING, CHUNKS_2, COMMIT_2 = range(5)


def delete(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flipped(at: int) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        flip(path, at)

    do.__name__ = f"flip_{at}"
    return do


EVERYTHING = [delete, cut_short, empty, *map(flipped, (0, 9, 20, 40, -1, -60))]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two generations of "ab" and "bc", and a keyring between them; closed properly."""
    data = tmp_path / "data"
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", "ab")
    home.put_keyring([SLOT], "0")
    session = home.begin_session(ALICE, None)
    put(home, session, "c")
    home.refer(ALICE, session, [chunk_id("b"), chunk_id("c")], [])
    home.commit(ALICE, session, commit_of("two", generation_id("one"), "bc"))
    store.close()
    return data


def mark_unclean(data: Path) -> None:
    """As if the server had been killed."""
    connection = sqlite3.connect(index_path(data))
    connection.execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("damage", EVERYTHING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_opens_and_backs_up_again(
    data: Path, which: int, damage: Callable[[Path], None], clean: bool
) -> None:
    if not clean:
        mark_unclean(data)
    damage(segment_paths(data)[which])
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    size_changed = damage in (delete, cut_short, empty)
    if damage is delete or (size_changed and not clean):
        assert any(f"segment {which + 1:016x}" in problem for problem in home.problems)
    else:
        assert home.problems == []
    session = home.begin_session(ALICE, None)
    try:
        held(home, "abc")
    except DamagedSegment:
        held(home, "abc")
    missing = home.missing(session, [chunk_id(n) for n in "abc"])
    names = [n for n, is_missing in zip("abc", missing, strict=True) if is_missing]
    if names:
        put(home, session, names)
    home.refer(ALICE, session, [chunk_id(n) for n in "abc"], [])
    home.commit(ALICE, session, commit_of("three", generation_id("two"), "abc"))
    assert [s.receipt.sequence for s in home.list_generations(0, 9)] == [1, 2, 3]
    if size_changed:
        assert held(home, "abc") == all_right("abc")
    store.close()


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("damage", EVERYTHING, ids=lambda f: f.__name__)
def test_rebuilt_without_what_is_damaged(
    data: Path, which: int, damage: Callable[[Path], None]
) -> None:
    damage(segment_paths(data)[which])
    problems = rebuild_index(data, HOME, Clock())
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    generations = [s.receipt.sequence for s in home.list_generations(0, 9)]
    # A flipped bit in a chunk is for scrub to find; in the store's own parts it matters here.
    in_frame = damage.__name__ == "flip_40"
    lost = which in (CHUNKS_1, CHUNKS_2) and not in_frame
    assert generations == (
        [2]
        if which == COMMIT_1 and not in_frame
        else [1]
        if which == COMMIT_2 and not in_frame
        else [1, 2]
    )
    if lost:
        expected = "c" if which == CHUNKS_1 else "ab"
        assert held(home, "abc") == all_right(expected)
        assert home.damaged_chunk_count() == 3 - len(expected)
        assert any("lacks" in problem for problem in problems)
    if which == KEYRING and not in_frame:
        assert home.get_keyring().slots == ()
    elif which != KEYRING:
        assert home.get_keyring().slots == (SLOT,)
    if which not in (CHUNKS_1, CHUNKS_2) and damage is not delete and not in_frame:
        assert any(f"segment {which + 1:016x}" in problem for problem in problems)
    store.close()


def test_a_generation_without_its_chunks_is_not_taken_for_whole(data: Path) -> None:
    segment_paths(data)[CHUNKS_1].unlink()
    rebuild_index(data, HOME, Clock())
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    session = home.begin_session(ALICE, generation_id("two"))
    with pytest.raises(ChunksMissing):
        home.commit(ALICE, session, commit_of("three", generation_id("two"), "bc"))
    store.close()


def test_a_lost_manifest_is_named(data: Path) -> None:
    segment_paths(data)[COMMIT_1].unlink()
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert home.get_generation(generation_id("one")).manifest == b""
    assert home.get_generation(generation_id("two")).manifest == b"manifest of two"
    assert any("0000000000000002" in problem for problem in home.problems)
    assert home.generation_count() == 2
    store.close()


def test_a_segment_that_comes_back(data: Path) -> None:
    before = rebuilt_rows(index_path(data))
    path = segment_paths(data)[CHUNKS_1]
    content = path.read_bytes()
    path.unlink()
    store = Store.open(data, Clock())
    assert held(store.repository(HOME), "abc") == all_right("c")
    store.close()
    path.write_bytes(content)
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert home.problems == []
    assert held(home, "abc") == all_right("abc")
    assert home.damaged_chunk_count() == 0
    store.close()
    assert rebuilt_rows(index_path(data)) == before


def test_rebuilding_after_a_chunk_was_healed(data: Path) -> None:
    path = segment_paths(data)[CHUNKS_1]
    content = path.read_bytes()
    # The second chunk cannot be read any more: found by a reader, healed by a backup...
    path.write_bytes(content[: 32 + len(body_of("a")) + 40])
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    with pytest.raises(DamagedSegment):
        held(home, "b")
    put(home, home.begin_session(ALICE, None), "b")
    assert held(home, "abc") == all_right("abc")
    store.close()
    # ... and the file is long again, with other bytes. The rebuild takes the good copy.
    spoilt = bytearray(content)
    spoilt[32 + len(body_of("a")) + 45] ^= 1
    path.write_bytes(spoilt)
    assert rebuild_index(data, HOME, Clock()) == []
    store = Store.open(data, Clock())
    assert held(store.repository(HOME), "abc") == all_right("abc")
    store.close()


def test_a_rebuild_cut_short_is_harmless(data: Path) -> None:
    before = rebuilt_rows(index_path(data))
    index_path(data).with_name("index.sqlite.new").write_bytes(b"half of an index")
    assert rebuild_index(data, HOME, Clock()) == []
    assert rebuilt_rows(index_path(data)) == before
    assert not list(index_path(data).parent.glob("*.new*"))
