"""Trying again: when, how often, and when not."""

from typing import Any, cast

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from obnam.errors import (
    NotFound,
    ObnamError,
    ServerBusy,
    ServerFull,
    ServerMisbehaved,
    ServerUnreachable,
)
from obnam.repository.retry import Retried, RetryingRepository, RetryPolicy
from obnam.wire.interfaces import IRepository
from obnam.wire.lent import Lent
from tests.support.memory_repository import MemoryServer

AWAY = ServerUnreachable("server", "no route")


@define
class Failing:
    """A repository whose every method fails with ``errors``, one after the other, then works."""

    errors: list[ObnamError]
    asked: list[tuple[Any, ...]] = field(factory=list)

    def __getattr__(self, name: str) -> Any:
        def method(*args: object) -> "Deferred[Any]":
            self.asked.append((name, *args))
            if self.errors:
                return fail(self.errors.pop(0))
            return succeed([] if name == "fetch" else f"{name} done")

        return method


@define
class Scene:
    failing: Failing
    clock: Clock
    reports: list[Retried]
    repository: RetryingRepository


def scene(*errors: ObnamError, chance: float = 1.0, policy: RetryPolicy | None = None) -> Scene:
    failing, clock, reports = Failing(list(errors)), Clock(), list[Retried]()
    repository = RetryingRepository(
        cast(Any, failing), clock, lambda: chance, reports.append, policy or RetryPolicy()
    )
    return Scene(failing, clock, reports, repository)


def result_of(deferred: "Deferred[Any]") -> Any:
    """What a Deferred that has fired holds; an exception is raised."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def test_is_a_repository() -> None:
    inner = MemoryServer().client()
    assert verifyObject(IRepository, RetryingRepository(inner, Clock(), lambda: 0.0, print))


def test_waits_grow_and_what_works_ends_them() -> None:
    s = scene(AWAY, AWAY, AWAY)
    asked = s.repository.describe()
    waits = []
    while not asked.called:
        (call,) = s.clock.getDelayedCalls()
        waits.append(call.getTime() - s.clock.seconds())
        s.clock.advance(waits[-1])
    assert waits == [0.5, 1.0, 2.0]
    assert result_of(asked) == "describe done"
    assert s.reports == [Retried(AWAY, n, wait) for n, wait in ((1, 0.5), (2, 1.0), (3, 2.0))]
    assert s.failing.asked == [("describe",)] * 4


@pytest.mark.parametrize(
    "error", [NotFound("x"), ServerFull("server"), ServerMisbehaved("server", "junk")]
)
def test_what_stays_wrong_is_not_repeated(error: ObnamError) -> None:
    s = scene(error)
    with pytest.raises(type(error)):
        result_of(s.repository.describe())
    assert s.clock.getDelayedCalls() == []
    assert s.reports == []


def test_gives_up_in_the_end() -> None:
    s = scene(*[AWAY] * 1000)
    asked = s.repository.describe()
    s.clock.pump([0.5] * 600)
    with pytest.raises(ServerUnreachable):
        result_of(asked)
    assert sum(report.wait_s for report in s.reports) <= RetryPolicy().total_s
    assert s.clock.getDelayedCalls() == []


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(status: int) -> None:
    s = scene(ServerBusy("server", status, retry_after_s=20.0))
    asked = s.repository.describe()
    s.clock.advance(20.0)
    assert not asked.called
    s.clock.advance(0.5)
    assert result_of(asked) == "describe done"


def test_what_ends_several_is_told_once() -> None:
    s = scene(*[AWAY] * 9)
    asked = [s.repository.describe() for _ in range(3)]
    s.clock.pump([0.5] * 20)
    assert [result_of(each) for each in asked] == ["describe done"] * 3
    assert [(report.error, report.tries) for report in s.reports] == [(AWAY, n) for n in (1, 2, 3)]


def test_cancelling_ends_the_waiting() -> None:
    s = scene(AWAY)
    asked = s.repository.describe()
    asked.cancel()
    with pytest.raises(CancelledError):
        result_of(asked)
    assert s.clock.getDelayedCalls() == []


def test_silence_counts_for_who_waits_for_an_answer() -> None:
    policy = RetryPolicy(total_s=5.0, counts_silence=True)
    s = scene(ServerUnreachable("server", "no answer", silent_s=60.0), policy=policy)
    with pytest.raises(ServerUnreachable):
        result_of(s.repository.describe())
    s = scene(AWAY, policy=policy)
    asked = s.repository.describe()
    s.clock.advance(1.0)
    assert result_of(asked) == "describe done"


METHODS: list[tuple[str, tuple[Any, ...]]] = [
    ("begin_session", (None,)),
    ("refer", ("s", [b"a"], [b"b"])),
    ("end_session", ("s",)),
    ("missing", ("s", [b"a"])),
    ("store", ("s", memoryview(b"x"), Lent(1, 2, 3))),
    ("fetch", ([b"a"], memoryview(b"x"))),
    ("describe", ()),
    ("commit", ("s", "commit")),
    ("list_generations", ()),
    ("get_generation", ("g",)),
    ("delete_generation", ("g",)),
    ("undelete_generation", ("g",)),
    ("pin_generation", ("g", "reason")),
    ("unpin_generation", ("g",)),
    ("list_trash", ()),
    ("damage", (0,)),
    ("get_keyring", ()),
    ("put_keyring", ([], "etag")),
]


@pytest.mark.parametrize(("name", "args"), METHODS, ids=[name for name, _ in METHODS])
def test_every_method_is_repeated_as_it_was(name: str, args: tuple[Any, ...]) -> None:
    s = scene(AWAY)
    asked = getattr(s.repository, name)(*args)
    s.clock.advance(0.5)
    expected: dict[str, Any] = {"store": None, "fetch": []}
    assert result_of(asked) == expected.get(name, f"{name} done")
    assert s.failing.asked == [(name, *args)] * 2


def test_no_method_is_forgotten() -> None:
    assert {name for name, _ in METHODS} | {"close"} == set(IRepository.names(all=True))


def test_closing_is_not_repeated() -> None:
    s = scene(AWAY)
    with pytest.raises(ServerUnreachable):
        result_of(s.repository.close())


@given(
    tries=st.integers(1, 10_000),
    waited_s=st.floats(0, 1000),
    chance=st.floats(0, 1),
    retry_after_s=st.none() | st.floats(0, 3600),
)
def test_waits_are_bounded(
    tries: int, waited_s: float, chance: float, retry_after_s: float | None
) -> None:
    policy = RetryPolicy(first_wait_s=0.5, longest_wait_s=30.0, total_s=180.0, busy_total_s=600.0)
    wait = policy.wait_s(tries, waited_s, ServerBusy("server", 503, retry_after_s), chance)
    if wait is not None:
        assert 0.25 <= wait <= 30.0 + (retry_after_s or 0)
        assert waited_s + wait <= (180.0 if retry_after_s is None else 600.0)


def test_a_server_that_says_when_to_come_back_is_not_given_up_so_soon() -> None:
    """However long the queue is: others come first, that is all."""
    s = scene(*[ServerBusy("server", 503, retry_after_s=5.0)] * 60)
    asked = s.repository.describe()
    s.clock.pump([1.0] * 2400)
    assert result_of(asked) == "describe done"
    s = scene(*[ServerBusy("server", 503, retry_after_s=5.0)] * 1000)
    asked = s.repository.describe()
    s.clock.pump([1.0] * 3700)
    with pytest.raises(ServerBusy):
        result_of(asked)
