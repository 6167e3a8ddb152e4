"""What pytest lets pass and trial would not: failures that nobody saw, and loose ends.

`no_loose_ends` is in effect for every test (``tests/conftest.py``). It fails a test that leaves

- a failure in Twisted's log, among them that of a Deferred dropped with nobody to handle it,
- a delayed call in the reactor, or
- a reader or writer in the reactor: an open port, connection or process.

A test that expects a logged failure takes it out with the fixture `flush_logged_errors`.
"""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field, frozen
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

FlushLoggedErrors = Callable[..., list[Failure]]

_TURNS = 10
"""Turns of the reactor that closing connections are given before they count as left open."""


@implementer(ILogObserver)
@define
class LoggedFailures:
    """An observer of the log that keeps the failures in it."""

    failures: list[Failure] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        """Take an event."""
        failure = event.get("log_failure")
        if failure is None and event.get("isError"):
            failure = event.get("failure")  # by twisted.python.log.err
        if failure is not None:
            self.failures.append(failure)

    def flush(self, *types: type[BaseException]) -> list[Failure]:
        """Take out and return the failures of these types (none given: all)."""
        collect_garbage()
        wanted = [each for each in self.failures if not types or isinstance(each.value, types)]
        self.failures = [each for each in self.failures if each not in wanted]
        return wanted


def collect_garbage() -> None:
    """Let dropped Deferreds tell of their failures.

    What survives is set aside for good, so that the next time only what was made since is looked
    at: under a millisecond, where looking at everything each time takes fifty.
    """
    gc.collect()
    gc.freeze()


@frozen
class ReactorState:
    """What the reactor waits for."""

    calls: frozenset[Any]
    selectables: frozenset[Any]

    @classmethod
    def of(cls, reactor: Any) -> "ReactorState":
        """As it is now, without what the reactor uses to wake itself."""
        internal = getattr(reactor, "_internalReaders", ())
        selectables = {*reactor.getReaders(), *reactor.getWriters()}
        return cls(
            frozenset(call for call in reactor.getDelayedCalls() if call.active()),
            frozenset(selectables.difference(internal)),
        )

    def since(self, before: "ReactorState") -> "ReactorState":
        """What came on top of ``before``."""
        return ReactorState(self.calls - before.calls, self.selectables - before.selectables)

    def __bool__(self) -> bool:
        return bool(self.calls or self.selectables)

    def problems(self) -> list[str]:
        """One line for each."""
        return [f"left in the reactor: {call}" for call in self.calls] + [
            f"left open: {selectable!r}" for selectable in self.selectables
        ]

    def remove_from(self, reactor: Any) -> None:
        """So that the next test is not blamed."""
        for call in self.calls:
            if call.active():
                call.cancel()
        for selectable in self.selectables:
            reactor.removeReader(selectable)
            reactor.removeWriter(selectable)


def _left_over(reactor: Any, before: ReactorState) -> ReactorState:
    left = ReactorState.of(reactor).since(before)
    for _ in range(_TURNS):
        if not left:
            break
        pytest_twisted.blockon(deferLater(reactor, 0, lambda: None))
        left = ReactorState.of(reactor).since(before)
    return left


@pytest.fixture(autouse=True)
def no_loose_ends() -> Iterator[LoggedFailures]:
    """Fail a test that leaves a failure nobody saw, or something in the reactor."""
    from twisted.internet import reactor  # by now the one that pytest-twisted installed

    logged = LoggedFailures()
    before = ReactorState.of(reactor)
    globalLogPublisher.addObserver(logged)
    try:
        yield logged
        left = _left_over(reactor, before)
        collect_garbage()
    finally:
        globalLogPublisher.removeObserver(logged)
    problems = left.problems()
    left.remove_from(reactor)
    problems += [f"failed, and nobody saw it:\n{each.getTraceback()}" for each in logged.failures]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def flush_logged_errors(no_loose_ends: LoggedFailures) -> FlushLoggedErrors:
    """A function that takes expected failures (of the given types) out of the log."""
    return no_loose_ends.flush
