"""Retention carried out on a real store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from obnam.errors import NotFound
from obnam.model.ids import GenerationId
from obnam_server.store.errors import StoreFull
from obnam_server.store.generations.decisions import Decisions
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.policy import parse_policy
from obnam_server.upkeep.retain import SEEN, carry_out, look, retain
from tests.support.server_in_memory import WorkByHand
from tests.support.stored import ALICE, BOB, HOME, START_NS, back_up, commit_of, generation_id

DAY_NS = 24 * 3600 * 10**9


@define
class House:
    """A store whose clock is moved by hand."""

    data: Path
    now_ns: int = START_NS
    work: WorkByHand = field(init=False)
    store: Store = field(init=False)
    home: RepositoryStore = field(init=False)

    def start(self) -> None:
        self.work = WorkByHand(None)
        self.store = Store.open(self.data, lambda: self.now_ns)
        self.home = self.store.create_repository(HOME)

    def day(self, name: str) -> None:
        """Run retention as each hour does, back up, and a day goes by."""
        self.run()
        back_up(self.home, ALICE, name, "a")
        self.now_ns += DAY_NS

    def run(self) -> None:
        done = Deferred.fromCoroutine(retain(self.home, self.work, self.now_ns))
        self.work.do_all()
        assert done.called

    def listed(self) -> list[GenerationId]:
        return [each.receipt.generation for each in self.home.list_generations(0, 1000)]

    def set_policy(self, **policy: object) -> None:
        assert parse_policy(policy) is not None
        self.home.change(self.home.decisions.set_policy, policy)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "data")
    house.start()
    yield house
    house.store.close()


def test_without_a_policy_everything_is_kept(house: House) -> None:
    for number in range(60):
        house.day(f"day {number}")
    assert len(house.listed()) == 60


def test_old_ones_go_to_the_trash_and_then_for_good(house: House) -> None:
    house.set_policy(daily=3, minimum_age="0d", newest=1, trash_days=5)
    for number in range(20):
        house.day(f"day {number}")
    kept = house.listed()
    assert kept == [generation_id(f"day {number}") for number in range(20 - len(kept), 20)]
    assert 3 <= len(kept) <= 6
    trashed = [each for each in house.home.decisions.all() if each.trashed]
    assert 5 <= len(trashed) <= 7
    assert {each.trashed.by for each in trashed if each.trashed} == {"retention"}
    with pytest.raises(NotFound):
        house.home.get_generation(generation_id("day 0"))
    # A rebuild brings back neither what is gone nor what is in the trash, and keeps the policy.
    house.store.close()
    assert rebuild_index(house.data, HOME, lambda: house.now_ns) == []
    house.start()
    assert house.listed() == kept
    house.run()
    assert house.listed() == kept


def test_checkpoints_push_nothing_out(house: House) -> None:
    """A backup that is interrupted day after day leaves the last good generation where it is."""
    house.set_policy(daily=1, minimum_age="0d", newest=1)
    previous = back_up(house.home, ALICE, "good", "ab")
    for number in range(20):
        house.now_ns += DAY_NS
        session = house.home.begin_session(ALICE, previous)
        name = f"checkpoint {number}"
        checkpoint = evolve(commit_of(name, previous, "ab"), partial=True)
        previous = house.home.commit(ALICE, session, checkpoint).generation
        house.run()
    assert house.listed()[0] == generation_id("good")
    assert len(house.listed()) < 5


def test_the_time_is_noted_before_anything_goes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it not, a run that is cut short again and again would take the same step each time."""

    def fail(*_: object) -> bool:
        raise StoreFull("disk")

    house.day("one")
    before = house.home.times()
    looked = look(house.home, house.now_ns + DAY_NS)
    with monkeypatch.context() as failing, pytest.raises(StoreFull):
        failing.setattr(Decisions, "retire", fail)
        house.home.change(carry_out, house.home, looked)
    assert house.home.times() != before
    assert house.home.times()[SEEN] == house.now_ns + DAY_NS


def test_what_is_pinned_held_or_alarmed_stays(house: House) -> None:
    house.set_policy(daily=1, minimum_age="0d", newest=1)
    back_up(house.home, BOB, "theirs", "b")
    house.day("one")
    house.home.change(house.home.decisions.pin, generation_id("one"), "admin", "good")
    house.home.change(house.home.decisions.hold, "admin", "case 7")
    for number in range(10):
        house.day(f"day {number}")
    assert len(house.listed()) == 12
    house.home.change(house.home.decisions.release)
    house.home.change(house.home.decisions.alarm, ALICE, generation_id("one"), "much")
    house.run()
    assert len(house.listed()) == 12
    house.home.change(house.home.decisions.acknowledge, ALICE)
    house.run()
    assert {generation_id("one"), generation_id("theirs")} <= set(house.listed())
    assert len(house.listed()) < 7


def test_a_decision_that_comes_between_is_not_overruled(house: House) -> None:
    house.set_policy(daily=1, minimum_age="0d", newest=1)
    for number in range(5):
        back_up(house.home, ALICE, f"day {number}", "a")
        house.now_ns += DAY_NS
    looked = look(house.home, house.now_ns)
    house.home.change(house.home.decisions.hold, "admin", "case 7")
    before = house.listed()
    assert not house.home.change(carry_out, house.home, looked)
    assert house.listed() == before
