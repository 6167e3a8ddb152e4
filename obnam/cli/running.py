"""Runs one coroutine in the reactor, and ends it well when a signal asks for that."""

import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from obnam.cli.endings import SIGNALS, Interrupted

T = TypeVar("T")

GRACE_S = 8.0
"""How long a command may take to end well after a signal. What is durable on the server stays so
in any case; what may be left behind is a temporary file in the cache, removed a day later."""


def run(
    reactor: ReactorBase,
    begin: Callable[[], Coroutine[Any, Any, T]],
    give_up: Callable[[int], None],
) -> T:
    """The result of the coroutine that ``begin`` makes, or what it raises.

    After a signal it is cancelled, and `Interrupted` is raised when it has ended. After a second
    signal, or when ending takes too long, the process exits at once; ``give_up`` is called then,
    with the number of the first.
    """
    running = _Running(reactor, begin, give_up)
    reactor.callWhenRunning(running.start)
    reactor.run()
    return running.outcome()


@define(eq=False)
class _Running(Generic[T]):
    """A coroutine on its way. ``ended`` holds its result, or its failure."""

    reactor: ReactorBase
    begin: Callable[[], Coroutine[Any, Any, T]]
    give_up: Callable[[int], None]
    ended: list[T | Failure] = field(factory=list)
    signalled: int | None = None
    task: "Deferred[T] | None" = None

    def start(self) -> None:
        # Twisted has just put its own handlers there, and what wakes the reactor up.
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
                signal.signal(number, self.on_signal)
        self.task = Deferred.fromCoroutine(self.begin())
        self.task.addBoth(self.end)

    def end(self, outcome: T | Failure) -> None:
        self.ended.append(outcome)
        self.reactor.stop()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signalled is not None:
            self.exit_at_once()
        self.signalled = number
        self.reactor.callFromThread(self.cancel)

    def cancel(self) -> None:
        self.reactor.callLater(GRACE_S, self.exit_at_once)
        if self.task is not None:
            self.task.cancel()

    def exit_at_once(self) -> None:
        number = self.signalled or signal.SIGTERM
        try:
            self.give_up(number)
        finally:
            # Whatever comes of that: a display, say, may be in the middle of being drawn.
            os._exit(128 + number)

    def outcome(self) -> T:
        if self.signalled is not None:
            raise Interrupted(self.signalled)
        outcome = self.ended[0]
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome
