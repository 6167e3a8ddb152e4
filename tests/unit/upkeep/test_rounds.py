"""Rounds go on by themselves, whatever fails, and leave off in good order."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from obnam.errors import NotFound
from obnam.model.ids import RepositoryName
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.collect import YOUNG_S
from obnam_server.upkeep.compact import Compacted, compact
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.rounds import FIRST_ROUND_S, Rounds, Task
from tests.support.guard import FlushLoggedErrors
from tests.support.server_in_memory import WorkByHand
from tests.support.stored import (
    ALICE,
    HOME,
    START_NS,
    all_right,
    back_up,
    generation_id,
    held,
    segment_paths,
)

EVERY_S = 3600.0
OTHER = RepositoryName("other")


@define
class House:
    """A store with two repositories, and rounds through it."""

    data: Path
    clock: Clock = field(factory=Clock)
    work: WorkByHand = field(init=False)
    store: Store = field(init=False)
    rounds: Rounds = field(init=False)
    done: list[tuple[str, str]] = field(factory=list)

    def now_ns(self) -> int:
        return START_NS + round(self.clock.seconds() * 1e9)

    def start(self, *tasks: Task) -> None:
        self.work = WorkByHand(None)
        self.store = Store.open(self.data, self.now_ns)
        for name in (HOME, OTHER):
            self.store.create_repository(name)
        pace = Pace(self.clock, 1_000, lambda: False)
        self.rounds = Rounds(self.store, self.work, self.clock, self.now_ns, pace, EVERY_S, tasks)
        self.rounds.start()

    def note(self, name: str, fail: Exception | None = None) -> Task:
        async def run(repository: RepositoryStore, pace: Pace) -> None:
            self.done.append((repository.name, name))
            if fail is not None and repository.name == HOME:
                raise fail

        return Task(name, run)

    def advance(self, seconds: float, step_s: float = 1.0) -> None:
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(step_s)
            self.work.do_all()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "data")
    yield house
    house.store.close()


def stop(house: House) -> None:
    stopped = Deferred.fromCoroutine(house.rounds.stop())
    house.work.do_all()
    assert stopped.called
    assert not house.clock.getDelayedCalls()


def test_one_round_after_another(house: House) -> None:
    house.start(house.note("first"), house.note("second"))
    house.advance(FIRST_ROUND_S - 1)
    assert house.done == []
    house.advance(1)
    once = [(HOME, "first"), (HOME, "second"), (OTHER, "first"), (OTHER, "second")]
    assert house.done == once
    house.advance(EVERY_S + 1, step_s=60)
    assert house.done == once * 2
    stop(house)
    house.advance(2 * EVERY_S, step_s=60)
    assert house.done == once * 2


def test_what_fails_is_noted_and_the_rest_goes_on(
    house: House, flush_logged_errors: FlushLoggedErrors
) -> None:
    house.start(
        house.note("first", NotFound("something")),
        house.note("second", ValueError("ours")),
    )
    house.advance(FIRST_ROUND_S)
    assert len(house.done) == 4
    state = house.rounds.states[HOME, "first"]
    assert (state.done_ns, state.failed_ns) == (0, house.now_ns())
    assert "something" in state.problem
    assert "ours" in house.rounds.states[HOME, "second"].problem
    assert house.rounds.states[OTHER, "first"].problem == ""
    assert len(flush_logged_errors(ValueError)) == 1
    stop(house)


def compaction(house: House) -> Task:
    async def run(repository: RepositoryStore, pace: Pace) -> None:
        await compact(repository, house.work, pace, house.now_ns(), Compacted())

    return Task("compaction", run)


def with_dead_chunks(house: House) -> RepositoryStore:
    house.start(compaction(house))
    home = house.store.repository(HOME)
    back_up(home, ALICE, "one", "abcdefgh")
    back_up(home, ALICE, "two", "a")
    home.change(home.decisions.delete, [generation_id("one")], "admin", "old")
    home.change(home.decisions.expunge, [generation_id("one")])
    return home


def test_dead_chunks_go_by_themselves_once_they_are_old(house: House) -> None:
    home = with_dead_chunks(house)
    house.advance(YOUNG_S - EVERY_S, step_s=60)
    assert held(home, "abcdefgh") == all_right("abcdefgh")
    before = home.used_bytes()
    house.advance(3 * EVERY_S, step_s=60)
    assert held(home, "abcdefgh") == all_right("a")
    assert home.used_bytes() < before
    stop(house)


@pytest.mark.parametrize("jobs", range(8))
def test_stopped_in_the_middle_nothing_is_lost(house: House, jobs: int) -> None:
    home = with_dead_chunks(house)
    house.clock.advance(YOUNG_S)
    queue = house.work._queue
    house.clock.advance(FIRST_ROUND_S)
    for _ in range(jobs):
        if queue:
            queue.popleft()()
        house.clock.advance(1)
    stop(house)
    assert held(home, "a") == all_right("a")
    assert list((house.data / "repositories" / HOME / "incoming").iterdir()) == []
    known = {share.segment for share in home.collection.shares()}
    files = {int(path.name, 16) for path in segment_paths(house.data)}
    assert known <= files
    house.store.close()
    house.store = Store.open(house.data, house.now_ns)
    again = house.store.repository(HOME)
    assert again.problems == []
    assert held(again, "a") == all_right("a")


def test_who_waits_says_for_whom_and_until_when(house: House) -> None:
    """It is no failure. What is given up after a day needs no other backup to be forgotten."""
    with_dead_chunks(house).begin_session(ALICE, None)
    stop(house)
    house.store.close()
    house.start(compaction(house))
    began_ns = house.now_ns()
    with capturedLogs() as events:
        house.advance(FIRST_ROUND_S)
    said = [formatEvent(event) for event in events]
    state = house.rounds.states[HOME, "compaction"]
    assert (state.done_ns, state.failed_ns, state.problem) == (0, 0, "")
    assert state.waits_until_ns == began_ns + 24 * 3600 * 10**9
    (line,) = [line for line in said if "waits" in line]
    until = datetime.fromtimestamp(state.waits_until_ns / 1e9, UTC)
    assert line.startswith("compaction of repository home: collection waits for backups")
    assert f"(of {ALICE})" in line
    assert f"till {until:%Y-%m-%d %H:%M} UTC" in line
    house.advance(23 * EVERY_S, step_s=600)
    assert state.done_ns == 0
    house.advance(3 * EVERY_S, step_s=600)
    assert (state.waits_until_ns, state.problem) == (0, "")
    assert state.done_ns > began_ns
    assert held(house.store.repository(HOME), "abcdefgh") == all_right("a")
    stop(house)
