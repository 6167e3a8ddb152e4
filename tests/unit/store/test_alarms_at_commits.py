"""An unusual generation has an alarm before it is there, and nobody loses it by a crash."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from obnam.errors import CommitConflict
from obnam.model.ids import GenerationId
from obnam_server.store.index.generations import GenerationIndex
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import Past
from obnam_server.store.store import Store
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    Clock,
    back_up,
    chunk_id,
    commit_of,
    generation_id,
    put,
)


def replaces(history: Sequence[Past], new: Past) -> str | None:
    """Unusual is what leaves anything out."""
    removed = new.counted.removed_count
    return f"{removed} after {len(history)}" if removed else None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "data", Clock(), judge=replaces)
    yield store
    store.close()


@pytest.fixture
def home(store: Store) -> RepositoryStore:
    return store.create_repository(HOME)


def alarmed(home: RepositoryStore) -> dict[str, tuple[GenerationId, str]]:
    alarms = home.decisions.register().alarms
    return {client: (alarm.generation, alarm.mark.reason) for client, alarm in alarms.items()}


def test_it_is_raised_and_says_where_it_began(home: RepositoryStore) -> None:
    back_up(home, ALICE, "one", "ab")
    back_up(home, BOB, "theirs", "ab")
    back_up(home, ALICE, "two", "abc")
    assert alarmed(home) == {}
    two = back_up(home, ALICE, "three", "ac")
    back_up(home, ALICE, "four", "a")
    assert alarmed(home) == {"alice": (two, "1 after 2")}
    assert home.decisions.alarm_over(ALICE, two) == "1 after 2"
    assert home.decisions.alarm_over(ALICE, generation_id("four")) is None
    home.change(home.decisions.acknowledge, ALICE)
    assert alarmed(home) == {}


def test_a_refused_commit_raises_none(home: RepositoryStore) -> None:
    back_up(home, ALICE, "one", "ab")
    session = home.begin_session(ALICE, None)
    put(home, session, "x")
    home.refer(ALICE, session, [chunk_id("x")], [])
    with pytest.raises(CommitConflict):
        home.commit(ALICE, session, commit_of("two", generation_id("none"), "x"))
    assert alarmed(home) == {}


def test_it_comes_before_the_generation(
    home: RepositoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the process die between the two, there is an alarm too many, and none too few."""
    back_up(home, ALICE, "one", "ab")

    class Died(Exception):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(GenerationIndex, "put_generation", die)
        with pytest.raises(Died):
            back_up(home, ALICE, "two", "bc")
    assert alarmed(home) == {"alice": (generation_id("two"), "1 after 1")}
    assert [each.receipt.sequence for each in home.list_generations(0, 9)] == [1]
