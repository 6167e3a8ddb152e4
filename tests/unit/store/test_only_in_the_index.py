"""What sessions refer to, and all else that only the index has, outlives a restart."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from obnam.errors import ChunksMissing
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.repository import RepositoryStore
from tests.support.one_repository import OneRepository
from tests.support.stored import (
    ALICE,
    BOB,
    all_right,
    back_up,
    chunk_id,
    commit_of,
    generation_id,
    held,
    put,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OneRepository]:
    server = OneRepository(tmp_path / "data")
    server.start()
    yield server
    server.store.close()


def test_what_is_not_stored_yet_keeps_its_number(server: OneRepository) -> None:
    """Another chunk that got it would be taken for the one that never came."""
    session = server.home.begin_session(ALICE, None)
    server.home.refer(ALICE, session, [chunk_id("x")], [])
    server.restart()
    put(server.home, server.home.begin_session(BOB, None), "y")
    with pytest.raises(ChunksMissing) as caught:
        server.home.commit(ALICE, session, commit_of("one", None, "x"))
    assert caught.value.first == (chunk_id("x"),)
    put(server.home, session, "x")
    server.home.commit(ALICE, session, commit_of("one", None, "x"))
    assert held(server.home, "xy") == all_right("xy")


@pytest.mark.parametrize("is_restarted", [False, True])
def test_many_changes_of_a_base_become_one(
    server: OneRepository, monkeypatch: pytest.MonkeyPatch, is_restarted: bool
) -> None:
    """Among them chunks that are removed, and come back."""
    monkeypatch.setattr("obnam_server.store.generations.sessions.STEPS_MAX", 2)
    base = back_up(server.home, ALICE, "one", "abcd")
    session = server.home.begin_session(ALICE, base)
    put(server.home, session, "xy")
    for added, removed in (("", "a"), ("x", ""), ("", "bc"), ("b", ""), ("y", "x"), ("", "d")):
        server.home.refer(
            ALICE,
            session,
            [chunk_id(name) for name in added],
            [chunk_id(name) for name in removed],
        )
        if is_restarted:
            server.restart()
    server.home.commit(ALICE, session, commit_of("two", base, "by"))
    numbers = server.home._index.stored_numbers([chunk_id(name) for name in "by"])
    found = server.home._index.generation_set(generation_id("two"))
    assert found is not None
    assert set(found) == set(numbers.values())
    assert list(server.home.checking.find()) == []


def begin(home: RepositoryStore) -> None:
    home.begin_session(ALICE, None)


def refer(home: RepositoryStore) -> None:
    home.refer(ALICE, home.begin_session(ALICE, None), [chunk_id("x")], [])


def put_keyring(home: RepositoryStore) -> None:
    home.put_keyring([], "0")


def hold(home: RepositoryStore) -> None:
    home.change(home.decisions.hold, "admin", "case 7")


def put_times(home: RepositoryStore) -> None:
    home.put_times({"retention": 1})


@pytest.mark.parametrize("change", [begin, refer, put_keyring, hold, put_times])
def test_what_only_the_index_has_is_durable_when_it_is_answered(
    server: OneRepository,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[RepositoryStore], None],
) -> None:
    """Chunks and commits lie in segments, from which the index learns of them again."""
    real, durable = SqliteIndex.transaction, []

    def noted(index: SqliteIndex, is_durable: bool = False, **named: bool) -> object:
        durable.append(named.get("durable", is_durable))
        return real(index, durable[-1])

    monkeypatch.setattr(SqliteIndex, "transaction", noted)
    change(server.home)
    assert durable[-1]
