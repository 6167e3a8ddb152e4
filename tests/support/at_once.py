"""Asynchronous things that are done at once, so that tests need no reactor."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from obnam.pool.thread import OwnThread

P = ParamSpec("P")
T = TypeVar("T")


class CallerThread(OwnThread):
    """Runs calls where they are made."""

    def __init__(self) -> None:
        """There is nothing to start."""

    def call(
        self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> "Deferred[T]":
        """See `OwnThread`."""
        return maybeDeferred(function, *arguments, **named)

    def tell(self, function: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
        """See `OwnThread`."""
        function(*arguments, **named)

    def close(self) -> None:
        """See `OwnThread`."""


def result_of(coroutine: "Coroutine[Deferred[Any], Any, T]") -> T:
    """What the coroutine gives or raises; it must not wait for anything."""
    ended: list[T | Failure] = []
    Deferred.fromCoroutine(coroutine).addBoth(ended.append)
    assert ended, "it waits for something"
    outcome = ended[0]
    if isinstance(outcome, Failure):
        outcome.raiseException()
    return outcome
