"""The rolling scrub: how much is due, and that portions make a whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as TimeClock

from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import ScrubPass, SegmentNumber
from obnam_server.store.store import Store
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.scrub import (
    PERIOD_S,
    PORTION_S,
    Scrubbed,
    due_bytes,
    scrub_all,
    scrub_portion,
)
from tests.support.server_in_memory import WorkByHand
from tests.support.stored import ALICE, HOME, Clock, back_up, chunk_id, put, segment_paths

NOW_NS = 1_800_000_000 * 10**9
HOURS = round(PERIOD_S / PORTION_S)


def after(hours: float) -> int:
    return NOW_NS + round(hours * PORTION_S * 1e9)


def test_what_is_due() -> None:
    used = 720_000
    assert due_bytes(used, None, NOW_NS) == 1000
    begun = ScrubPass(NOW_NS, None, SegmentNumber(3), 1500)
    assert due_bytes(used, begun, after(1)) == 500
    assert due_bytes(used, begun, NOW_NS) == 0
    # The server was off for two days: caught up with.
    assert due_bytes(used, begun, after(48)) == 49_000 - 1500
    assert due_bytes(used, begun, after(5 * HOURS)) == used - 1500
    # More was read than there is now: still to the end.
    assert due_bytes(1000, begun, after(HOURS)) == 1
    ended = ScrubPass(NOW_NS, after(HOURS - 3), SegmentNumber(3), 1500)
    assert due_bytes(used, ended, after(HOURS - 1)) == 0
    assert due_bytes(used, ended, after(HOURS)) == 1000
    # The clock jumps back: no more than is due now.
    assert due_bytes(used, begun, NOW_NS - 10**18) == 0


@define
class Scene:
    """A repository, and upkeep that works when time goes by."""

    data: Path
    store: Store
    home: RepositoryStore
    time: TimeClock = field(factory=TimeClock)
    work: WorkByHand = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.work = WorkByHand(self.time)  # type: ignore[arg-type]

    def run(self, steps: Any) -> float:
        """Run to the end; how long it took (seconds)."""
        start = self.time.seconds()
        done = Deferred.fromCoroutine(steps)
        failed: list[Any] = []
        done.addErrback(failed.append)
        self.work.do_all()
        while not done.called:
            self.time.advance(0.05)
            self.work.do_all()
        if failed:
            failed[0].raiseException()
        return self.time.seconds() - start

    @property
    def pace(self) -> Pace:
        return Pace(self.time, 1000, lambda: False)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "data", Clock())
    home = store.create_repository(HOME)
    for n in range(6):
        back_up(home, ALICE, str(n), [f"{n}-{k}" for k in range(8)])
    yield Scene(tmp_path / "data", store, home)
    store.close()


def test_portions_make_a_whole(scene: Scene) -> None:
    home = scene.home
    began_ns = 0
    sizes = []
    period_s = 8 * PORTION_S
    for hour in range(9):
        progress = Scrubbed()
        now_ns = began_ns + round(hour * PORTION_S * 1e9)
        scene.run(scrub_portion(home, scene.work, scene.pace, now_ns, progress, period_s))
        began_ns = began_ns or home.scrubbing.standing().passes[0].began_ns
        sizes.append(progress.size_bytes)
        if progress.ended:
            break
    assert sum(sizes) == home.used_bytes()
    assert 5 < len(sizes) <= 9
    assert max(sizes) < home.used_bytes() / 2
    progress = Scrubbed()
    now_ns = began_ns + round((period_s - 1) * 1e9)
    scene.run(scrub_portion(home, scene.work, scene.pace, now_ns, progress, period_s))
    assert progress == Scrubbed()


def test_everything_now(scene: Scene) -> None:
    path = segment_paths(scene.data)[4]
    content = bytearray(path.read_bytes())
    content[32 + 37 + 1] ^= 1
    path.write_bytes(content)
    progress = Scrubbed()
    took_s = scene.run(scrub_all(scene.home, scene.work, scene.pace, progress))
    assert took_s >= scene.home.used_bytes() * 0.7 / 1000
    assert progress.ended
    assert progress.segments == 13  # with the one that records the damage
    assert progress.damaged == 1
    assert progress.findings == ["segment 0000000000000005: 1 chunks are damaged"]
    assert scene.home.damaged_chunk_count() == 1
    assert scene.home.scrubbing.standing().passes[0].ended_ns is not None
    put(scene.home, scene.home.begin_session(ALICE, None), ["2-0"])
    assert scene.home.damaged_chunk_count() == 0


def test_damage_that_nobody_needs_is_forgotten(scene: Scene) -> None:
    session = scene.home.begin_session(ALICE, None)
    put(scene.home, session, ["more"])
    scene.home.end_session(ALICE, session)
    segment_paths(scene.data)[-1].unlink()
    scene.run(scrub_all(scene.home, scene.work, scene.pace, Scrubbed()))
    assert scene.home.damaged_chunk_count() == 0
    session = scene.home.begin_session(ALICE, None)
    assert scene.home.missing(session, [chunk_id("more")]) == [True]


def test_a_newer_pass_ends_an_older_one(scene: Scene) -> None:
    older, newer = Scrubbed(), Scrubbed()
    running = Deferred.fromCoroutine(scrub_all(scene.home, scene.work, scene.pace, older))
    scene.work.do_all()
    scene.time.advance(0.05)
    scene.run(scrub_all(scene.home, scene.work, scene.pace, newer))
    while not running.called:
        scene.time.advance(0.05)
        scene.work.do_all()
    assert newer.ended
    assert not older.ended
    assert older.segments < 12
