"""Compaction carried out: what becomes of the new segment, however it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock as TimeClock
from twisted.python.failure import Failure

from obnam_server.store.repository import RepositoryStore
from obnam_server.store.upkeep.collection import Collection
from obnam_server.upkeep.compact import Compacted, compact
from obnam_server.upkeep.pace import Pace
from tests.support.meanwhile import Meanwhile
from tests.support.scrubbed import FIRST, SpoiltServer
from tests.support.server_in_memory import WorkByHand
from tests.support.stored import (
    ALICE,
    BOB,
    START_NS,
    all_right,
    back_up,
    chunk_id,
    generation_id,
    held,
    sealed,
    segment_paths,
)

LATER_NS = START_NS + 30 * 24 * 3600 * 10**9


@define
class Scene:
    """A repository whose first segment is half dead, and upkeep of it step by step."""

    server: SpoiltServer
    time: TimeClock = field(factory=TimeClock)
    progress: Compacted = field(factory=Compacted)
    work: WorkByHand = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.work = WorkByHand(self.time)  # type: ignore[arg-type]

    @property
    def home(self) -> RepositoryStore:
        return self.server.home

    def begin(self) -> "Deferred[None]":
        pace = Pace(self.time, 1e6, lambda: False)
        return Deferred.fromCoroutine(compact(self.home, self.work, pace, LATER_NS, self.progress))

    def run(self) -> None:
        done = self.begin()
        while not done.called:
            self.work.do_all()
            self.time.advance(1)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    server = SpoiltServer(tmp_path / "data")
    server.start()
    back_up(server.home, ALICE, "one", "abcd")
    back_up(server.home, ALICE, "two", "ab")
    server.home.change(server.home.decisions.delete, [generation_id("one")], "admin", "old")
    server.home.change(server.home.decisions.expunge, [generation_id("one")])
    yield Scene(server)
    server.store.close()


def test_what_is_dead_goes(scene: Scene) -> None:
    before = scene.home.used_bytes()
    scene.run()
    assert (scene.progress.groups, scene.progress.done, scene.progress.left) == (1, 1, 0)
    assert scene.progress.freed_bytes == before - scene.home.used_bytes() > 0
    assert held(scene.home, "abcd") == all_right("ab")


def test_what_came_to_life_leaves_nothing_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = scene.home.begin_session(BOB, None)
    before = segment_paths(scene.server.data)
    asked = Meanwhile(lambda: scene.home.missing(session, [chunk_id("c")]))
    asked.before(monkeypatch, Collection, "replace")
    scene.run()
    assert asked.happened
    assert (scene.progress.done, scene.progress.left, scene.progress.freed_bytes) == (0, 1, 0)
    assert segment_paths(scene.server.data) == before
    assert held(scene.home, "abcd") == all_right("abcd")


def test_what_is_damaged_is_left_to_the_scrub(scene: Scene) -> None:
    scene.server.flip(1, FIRST + len(sealed("a")) + 37 + 5)
    before = segment_paths(scene.server.data)
    scene.run()
    assert (scene.progress.done, scene.progress.left, scene.progress.freed_bytes) == (0, 1, 0)
    assert segment_paths(scene.server.data) == before


def cancellation(failure: Failure) -> None:
    """It is what was asked for."""
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


def cancelled(scene: Scene, steps: int) -> bool:
    """Compact, and leave off after so many steps; whether that was before the end."""
    done = scene.begin()
    for _ in range(steps):
        if not scene.work._queue:
            scene.time.advance(1)
        if scene.work._queue:
            scene.work._queue.popleft()()
    if done.called:
        return False
    done.addErrback(cancellation)
    done.cancel()
    while not done.called or scene.work._queue:
        if scene.work._queue:
            # The newest first: threads do not wait for each other.
            scene.work._queue.pop()()
        else:
            scene.time.advance(1)
    return True


@pytest.mark.parametrize("steps", range(12))
def test_wherever_it_is_left_off(scene: Scene, steps: int) -> None:
    """The server is stopped, say: what the index goes by is there, and nothing else is."""
    cancelled(scene, steps)
    names = held(scene.home, "ab")
    assert names == all_right("ab")
    assert list(scene.home.checking.find()) == []
    scene.server.restart()
    assert scene.home.problems == []
    assert held(scene.home, "ab") == all_right("ab")


def test_that_is_every_step(tmp_path: Path, scene: Scene) -> None:
    assert cancelled(scene, 3)
    assert not cancelled(scene, 12)
