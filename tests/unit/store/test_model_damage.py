"""The model of the store, on a disk that changes bits: scrub, healing, and all the rest between."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from obnam.model.ids import ClientName
from obnam_server.store.errors import CollectionWaits
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.segments.local import path_of
from tests.support.scrubbed import flip, scrub_now
from tests.support.soak import SOAK
from tests.support.stored import ALICE, HOME, all_right, chunk_id, held, sealed
from tests.unit.store.test_model import NAMES, StoreMachine, clients, some_names


class DamageMachine(StoreMachine):
    """``spoilt``: the copy that counts is bad, and nobody knows; ``damaged``: the server knows."""

    def __init__(self) -> None:
        self.spoilt: set[str] = set()
        self.damaged: set[str] = set()
        super().__init__()

    @initialize(wanted=some_names)
    def begin_with_something(self, wanted: list[str]) -> None:
        self.back_up(ALICE, wanted)

    @rule(client=clients, wanted=some_names)
    def back_up(self, client: ClientName, wanted: list[str]) -> None:
        session = self.begin(client, False)
        self.upload(session, wanted)
        self.refer(session, wanted, [])
        self.commit(session, False)

    @rule(number=st.integers(0, 7), then_scrub=st.booleans())
    def spoil(self, number: int, then_scrub: bool) -> None:
        good = sorted(self.stored - self.spoilt)
        if not good:
            return
        name = good[number % len(good)]
        (place,) = self.home.locate([chunk_id(name)])
        assert place is not None
        segments = self.data / "repositories" / HOME / "segments"
        flip(path_of(segments, place.segment), place.offset + 3)
        self.spoilt.add(name)
        if then_scrub:
            self.scrub()

    @rule()
    def scrub(self) -> None:
        assert scrub_now(self.home) == {chunk_id(n) for n in self.spoilt}
        self.stored -= self.spoilt
        self.damaged |= self.spoilt
        self.spoilt = set()

    @rule()
    def forget_damaged(self) -> None:
        dead = self.damaged - self.live_names()
        try:
            count = self.home.change(self.home.collection.forget_damaged)
        except CollectionWaits:
            assert not all(session.whole for session in self.live.values())
            return
        if all(session.whole for session in self.live.values()):
            assert count == len(dead)
        self.damaged -= dead

    @rule()
    def check(self) -> None:
        if self.upload_begun is None and self.rewrite is None:
            found = [each.problem for each in self.home.checking.find()]
            assert all(each.endswith("of its chunks are damaged or lost") for each in found)

    @rule()
    def begin_compaction(self) -> None:
        if not self.spoilt:  # else it leaves them alone
            super().begin_compaction()

    @rule()
    def end_compaction(self) -> None:
        super().end_compaction()
        self.look_again()

    @rule(between=st.sampled_from(["begin_compaction", "end_compaction"]))
    def fetch(self, between: str) -> None:
        if not self.spoilt:
            super().fetch(between)

    def look_again(self) -> None:
        """A copy that was good may count now."""
        self.spoilt &= self.stored
        now = held(self.home, sorted(self.spoilt | self.damaged))
        self.spoilt -= {n for n in self.spoilt if now[n] == sealed(n)}
        back = {n for n in self.damaged if n in now}
        assert {n: now[n] for n in back} == all_right(back)
        self.stored |= back

    @rule()
    def rebuild(self) -> None:
        self.stop()
        rebuild_index(self.data, HOME, self.clock)
        self.live.clear()
        self.start()
        known = {n for n in self.damaged if n not in self.stored}
        self.look_again()
        # What was forgotten may be known again: its bad copy is still there.
        assert {n for n in known if n not in self.stored} <= self.damaged

    @invariant()
    def chunks_are_there(self) -> None:
        self.damaged -= self.stored
        found = held(self.home, NAMES)
        assert set(found) == self.stored
        good = self.stored - self.spoilt
        assert {n: found[n] for n in good} == all_right(good)

    @invariant()
    def generations_are_there(self) -> None:
        found = self.home.list_generations(0, 1000)
        assert [s.receipt.generation for s in found] == [
            g.generation for g in self.generations if not g.trashed
        ]
        for each in self.generations:
            assert each.chunks <= self.stored | self.damaged

    @invariant()
    def damage_is_named(self) -> None:
        page = self.home.damage(0)
        listed = [g for g in self.generations if not g.trashed]
        assert {c.chunk_id: set(c.generations) for c in page.chunks} == {
            chunk_id(n): needing
            for n in self.damaged - self.stored
            if (needing := {g.generation for g in listed if n in g.chunks})
        }


TestDamageMachine = DamageMachine.TestCase
TestDamageMachine.settings = settings(max_examples=30 * SOAK, stateful_step_count=40, deadline=None)
