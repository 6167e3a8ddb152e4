"""Upkeep at the end of a command: what is due, once a day, for a limited time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from obnam.model.ids import RepositoryName
from obnam.wire.lifeline import Upkeep, UpkeepAsked
from obnam_server.store.errors import StoreFull
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.brief import BEGAN, EVERY_S, BriefUpkeep
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.rounds import Rounds
from obnam_server.upkeep.scrub import PERIOD_S
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

DAY_S = 24 * 3600.0
LIMIT_S = 300
OTHER = RepositoryName("other")


@define
class House:
    """A store, and the upkeep of a server that has it for a short time."""

    data: Path
    clock: Clock = field(factory=Clock)
    work: WorkByHand = field(init=False)
    store: Store = field(init=False)
    home: RepositoryStore = field(init=False)
    rounds: Rounds = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.work = WorkByHand(None)
        self.store = Store.open(self.data, self.now_ns)
        self.home = self.store.create_repository(HOME)
        pace = Pace(self.clock, 1.0, lambda: False)
        self.rounds = Rounds(self.store, self.work, self.clock, self.now_ns, pace, 0.0, ())

    def now_ns(self) -> int:
        return START_NS + round(self.clock.seconds() * 1e9)

    def begin(self, *, at_once: bool = False) -> "Deferred[Upkeep]":
        brief = BriefUpkeep(self.store, self.work, self.rounds, self.clock, self.now_ns)
        return Deferred.fromCoroutine(brief.run(UpkeepAsked(LIMIT_S, at_once)))

    def run(self, *, at_once: bool = False) -> Upkeep:
        found: list[Upkeep | Failure] = []
        self.begin(at_once=at_once).addBoth(found.append)
        self.work.do_all()
        assert not self.clock.getDelayedCalls()
        (upkeep,) = found
        assert isinstance(upkeep, Upkeep)
        return upkeep

    def day(self) -> None:
        self.clock.advance(DAY_S)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "data")
    yield house
    house.store.close()


def test_it_is_due_once_a_day(house: House) -> None:
    back_up(house.home, ALICE, "one", "abc")
    assert house.run() == Upkeep()
    assert house.home.times()[BEGAN] == house.now_ns()
    house.clock.advance(EVERY_S - 1)
    assert house.run() == Upkeep()
    house.clock.advance(1)
    assert house.run().read_bytes > 0
    began_ns = house.home.times()[BEGAN]
    assert began_ns == house.now_ns()
    house.clock.advance(1)
    assert house.run() == Upkeep()
    assert house.home.times()[BEGAN] == began_ns


def test_a_clock_that_was_ahead_does_not_end_it(house: House) -> None:
    house.home.change(house.home.put_times, {BEGAN: house.now_ns() + 10**18})
    back_up(house.home, ALICE, "one", "abc")
    assert house.run().read_bytes > 0
    assert house.home.times()[BEGAN] == house.now_ns()


def test_a_full_disk_makes_it_due(house: House) -> None:
    back_up(house.home, ALICE, "one", "abcdefgh")
    back_up(house.home, ALICE, "two", "a")
    house.day()
    house.home.change(house.home.decisions.delete, [generation_id("one")], "admin", "old")
    house.home.change(house.home.decisions.expunge, [generation_id("one")])
    house.home.change(house.home.put_times, {BEGAN: house.now_ns()})
    before = house.home.used_bytes()
    done = house.run(at_once=True)
    assert done.freed_bytes == before - house.home.used_bytes() > 0
    assert held(house.home, "abcdefgh") == all_right("a")


def test_all_of_it_is_read_in_thirty_days(house: House) -> None:
    for number in range(12):
        back_up(house.home, ALICE, str(number), [f"{number} {k}" for k in range(4)])
    house.run()
    read_bytes = []
    for _ in range(round(PERIOD_S / DAY_S) + 1):
        house.day()
        read_bytes.append(house.run().read_bytes)
    assert sum(read_bytes) >= house.home.used_bytes()
    assert max(read_bytes) < house.home.used_bytes() / 4
    second, first = house.home.scrubbing.standing().passes
    assert first.ended_ns is not None
    assert second.began_ns - first.began_ns == PERIOD_S * 1e9


def test_what_is_found_is_told(house: House) -> None:
    back_up(house.home, ALICE, "one", "abc")
    house.run()
    path = segment_paths(house.data)[0]
    content = bytearray(path.read_bytes())
    content[32 + 37 + 1] ^= 1
    path.write_bytes(content)
    house.home.change(house.home.decisions.alarm, ALICE, generation_id("one"), "much is new")
    house.day()
    done = house.run()
    assert done.damaged == 1
    alarm, damage = done.warnings
    assert "alice" in alarm
    assert "much is new" in alarm
    assert damage == "segment 0000000000000001: 1 chunks are damaged"


def test_why_nothing_is_deleted(house: House) -> None:
    house.home.change(house.home.decisions.set_policy, {"daily": 3})
    back_up(house.home, ALICE, "one", "abc")
    house.run()
    house.day()
    assert house.run().remarks == ()
    for _ in range(20):
        house.day()
    (remark,) = house.run().remarks
    assert "20 days ahead of the last run" in remark


def test_when_its_time_is_up_it_leaves_off(house: House) -> None:
    for number in range(4):
        back_up(house.home, ALICE, str(number), [f"{number} {k}" for k in range(4)])
    house.run()
    house.day()
    found: list[Upkeep] = []
    house.begin().addCallback(found.append)
    # As far as into the scrub, which does not come to its end.
    while not house.home.scrubbing.standing().passes:
        house.work._queue.popleft()()
    house.clock.advance(LIMIT_S)
    house.work.do_all()
    (done,) = found
    assert done.left_off
    assert not house.clock.getDelayedCalls()
    assert house.run() == Upkeep()  # not before tomorrow
    house.day()
    done = house.run()
    assert done.read_bytes > 0
    assert not done.left_off


@pytest.mark.parametrize("steps", range(12))
def test_it_is_stopped_with_the_rounds(house: House, steps: int) -> None:
    back_up(house.home, ALICE, "one", "abcdefgh")
    back_up(house.home, ALICE, "two", "a")
    house.home.change(house.home.decisions.delete, [generation_id("one")], "admin", "old")
    house.home.change(house.home.decisions.expunge, [generation_id("one")])
    house.run()
    house.day()
    failed: list[Failure] = []
    house.begin().addErrback(failed.append)
    for _ in range(steps):
        house.work._queue.popleft()()
    stopped = Deferred.fromCoroutine(house.rounds.stop())
    house.work.do_all()
    assert stopped.called
    (failure,) = failed
    assert isinstance(failure.value, CancelledError)
    assert not house.clock.getDelayedCalls()
    assert list((house.data / "repositories" / HOME / "incoming").iterdir()) == []
    assert held(house.home, "a") == all_right("a")


def test_what_fails_is_told_and_the_rest_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, flush_logged_errors: FlushLoggedErrors
) -> None:
    back_up(house.home, ALICE, "one", "abc")
    house.run()
    house.day()

    def full(*_: object) -> None:
        raise StoreFull("/disk")

    def ours(*_: object) -> None:
        raise ZeroDivisionError("ours")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, "put_times", full)
        patch.setattr(SqliteIndex, "chunk_segments", ours)
        done = house.run()
    noted, retention, compaction = done.warnings
    assert noted.startswith("upkeep of repository home: /disk: the disk is full")
    assert retention.startswith("retention of repository home: /disk: the disk is full")
    assert "ZeroDivisionError('ours')" in compaction
    assert done.read_bytes > 0
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


def test_after_a_backup_that_was_cut_short_compaction_waits_in_silence(house: House) -> None:
    back_up(house.home, ALICE, "one", "abc")
    house.run()
    house.day()
    house.home.begin_session(ALICE, None)
    house.store.close()
    house.start()
    done = house.run()
    assert done.warnings == ()
    assert done.read_bytes > 0


def test_a_repository_that_cannot_be_opened_is_no_hindrance(house: House) -> None:
    back_up(house.home, ALICE, "one", "abc")
    house.run()
    other = house.data / "repositories" / OTHER
    other.mkdir()
    (other / "repository").write_text("no JSON")
    house.day()
    done = house.run()
    assert done.read_bytes > 0
    (warning,) = done.warnings
    assert warning.startswith("repository other: ")
