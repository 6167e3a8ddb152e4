"""Counts the jobs of a pool, and tells when none is left.

Who gives up a job (by cancelling its Deferred) is told so at once, but the worker does not hear of
it: the job goes on, and writes to its slab, or to a file that is restored, until it is done.
"""

from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

SETTLE_S = 5.0
"""How long jobs under way may take to end: a disk that hangs does not keep us from ending."""


@define(eq=False)
class UnderWay:
    """How many jobs are under way. ``is_stuck``: some did not end although they were waited for."""

    _reactor: object
    is_stuck: bool = field(init=False, default=False)
    _count: int = field(init=False, default=0)
    _waiting: "list[Deferred[None]]" = field(init=False, factory=list)

    def begin(self) -> None:
        """One more."""
        self._count += 1

    def end(self) -> None:
        """One less; whatever waited for it is told before who waits for all."""
        self._count -= 1
        if not self._count:
            self.forget()

    def forget(self) -> None:
        """Nobody is to wait any longer."""
        while self._waiting:
            self._waiting.pop().callback(None)

    def settled(self) -> "Deferred[None]":
        """Fires when none is under way, or `SETTLE_S` later."""
        if not self._count:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        waiting.addTimeout(SETTLE_S, cast(IReactorTime, self._reactor))
        return waiting.addErrback(self._give_up)

    def _give_up(self, failure: Failure) -> None:
        failure.trap(TimeoutError)  # type: ignore[no-untyped-call]
        self.is_stuck = True
