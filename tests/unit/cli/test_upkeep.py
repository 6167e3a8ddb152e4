"""What is said of the upkeep at the end of a command."""

import json
from typing import Any, cast

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from obnam.cli.commands import Options
from obnam.cli.upkeep import SHOWN_AFTER_S, Caretaker
from obnam.config import Places
from obnam.errors import EmbeddedServerFailed
from obnam.wire.lifeline import Upkeep, UpkeepAsked
from obnam.wiring import Surroundings
from tests.support.null_progress import NullProgress

MUCH = Upkeep(1, 2, 3_500_000, 250_000, 2, True, ("scrub failed",), ("nothing is deleted",))


@define
class Scene:
    """A caretaker, and a server that answers when it is told to."""

    clock: Clock = field(factory=Clock)
    progress: NullProgress = field(factory=NullProgress)
    answer: "Deferred[Upkeep]" = field(factory=Deferred)
    asked: list[UpkeepAsked] = field(factory=list)
    warnings: list[list[str]] = field(factory=list)

    def begin(
        self,
        *,
        quiet: bool = False,
        as_json: bool = False,
        minutes: int = 5,
        at_once: bool = False,
    ) -> None:
        options = Options(self._no_reactor, quiet=quiet, as_json=as_json)  # type: ignore[arg-type]
        surroundings = Surroundings(cast(Any, self.clock), cast(Places, None), self.progress)
        caretaker = Caretaker(options, minutes)
        steps = caretaker.look_after(surroundings, cast(Any, self), at_once=at_once)
        Deferred.fromCoroutine(steps).addCallback(self.warnings.append)

    async def look_after(self, asked: UpkeepAsked) -> Upkeep:
        """As `EmbeddedServer`."""
        self.asked.append(asked)
        return await self.answer

    def _no_reactor(self) -> None:
        raise AssertionError("not needed")


@pytest.fixture
def scene() -> Scene:
    return Scene()


Captured = pytest.CaptureFixture[str]


def test_when_nothing_was_done_nothing_is_said(scene: Scene, capsys: Captured) -> None:
    scene.begin()
    scene.answer.callback(Upkeep())
    assert scene.asked == [UpkeepAsked(300)]
    assert scene.warnings == [[]]
    assert not scene.clock.getDelayedCalls()
    assert capsys.readouterr() == ("", "")


def test_who_has_to_wait_is_told_why(scene: Scene, capsys: Captured) -> None:
    scene.begin(minutes=1, at_once=True)
    assert scene.asked == [UpkeepAsked(60, at_once=True)]
    scene.clock.advance(SHOWN_AFTER_S)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "obnam: upkeep of the repository, for 1 minute at most; Ctrl-C does no harm\n"
    scene.answer.callback(Upkeep(read_bytes=5_000_000))
    assert capsys.readouterr().err == "obnam: upkeep: 5.0 MB read again\n"


def test_all_that_there_may_be_to_say(scene: Scene, capsys: Captured) -> None:
    scene.begin()
    scene.answer.callback(MUCH)
    assert capsys.readouterr().err.splitlines() == [
        "obnam: upkeep: 1 generation into the trash, 2 out of it for good, 3.5 MB freed, 250.0 kB "
        "read again, left off, as its time was up; it goes on tomorrow",
        "obnam: upkeep: nothing is deleted",
    ]
    assert scene.warnings == [scene.progress.warnings]
    failed, damaged = scene.progress.warnings
    assert failed == "upkeep: scrub failed"
    assert damaged.startswith("damaged in the repository: 2 chunks; run `obnam backup` again")


def test_for_programs(scene: Scene, capsys: Captured) -> None:
    scene.begin(as_json=True)
    scene.clock.advance(SHOWN_AFTER_S)
    scene.answer.callback(MUCH)
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {"upkeep": MUCH.to_json()}


@pytest.mark.parametrize("as_json", [False, True])
def test_quiet(scene: Scene, capsys: Captured, as_json: bool) -> None:
    scene.begin(quiet=True, as_json=as_json)
    scene.clock.advance(SHOWN_AFTER_S)
    scene.answer.callback(MUCH)
    assert capsys.readouterr() == ("", "")
    assert len(scene.progress.warnings) == 2


def test_it_can_be_turned_off(scene: Scene) -> None:
    scene.begin(minutes=0)
    assert scene.asked == []
    assert scene.warnings == [[]]


def test_a_server_that_fails_is_a_warning(scene: Scene) -> None:
    scene.begin()
    scene.answer.errback(EmbeddedServerFailed("/disk", "its server ended during upkeep"))
    assert scene.warnings == [["/disk: its server ended during upkeep"]]
