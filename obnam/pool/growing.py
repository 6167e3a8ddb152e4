"""A pool that begins in this process, and gets workers once there is work for them.

Most backups find little to read. To start workers costs 0.2 s of processor time, some tens of MB,
and three processes: more than the whole work of a backup of a few files.
"""

from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from obnam.pool.pool import IPool, ProcessPool
from obnam.pool.thread import OwnThread
from obnam.pool.under_way import SETTLE_S, UnderWay
from obnam.pool.worker import Tools

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")

JOBS_HERE = 6
"""So many are done without workers: three slabs of 15 MiB, read and sealed, in half a second."""

WAITING_MAX = 2
"""More jobs than this wait for one at a time only where there is much to do."""


def are_for_workers(jobs: int, waiting: int) -> bool:
    """Whether there is enough to do for workers: ``jobs`` so far, of which some are waiting."""
    return jobs > JOBS_HERE or waiting > WAITING_MAX


@frozen
class _Waiting:
    fired: "Deferred[Any]"
    job: Callable[..., Any]
    arguments: tuple[object, ...]


@implementer(IPool)
class GrowingPool:
    """Does jobs one after another on a thread; all of them by ``workers``, once those are there."""

    def __init__(self, reactor: "IReactorFromThreads", tools: Tools, workers: ProcessPool) -> None:
        self._reactor = reactor
        self._tools = tools
        self._workers = workers
        self._thread: OwnThread | None = None
        self._waiting: deque[_Waiting] = deque()
        self._is_busy = False
        self._jobs = 0
        self._grows = False
        self._has_grown = False
        self._here = UnderWay(reactor)

    def start(self) -> None:
        """There will be much to do: start the workers now, and leave all jobs to them."""
        self._grows = self._has_grown = True
        # If they cannot be started, each job will tell.
        self._workers.start().addErrback(lambda _: None)

    def run(self, job: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """See `IPool`."""
        if self._has_grown:
            return self._workers.run(job, *arguments)
        fired: Deferred[T] = Deferred()
        self._jobs += 1
        self._waiting.append(_Waiting(fired, job, arguments))
        self._next()
        if not self._grows and are_for_workers(self._jobs, len(self._waiting)):
            self._grows = True
            self._workers.start().addBoth(self._hand_over)
        return fired

    def settled(self) -> "Deferred[None]":
        """See `IPool`."""
        both = gatherResults([self._here.settled(), self._workers.settled()])
        return both.addCallback(lambda _: None)

    def rest(self) -> None:
        """See `IPool`."""
        self._workers.rest()

    def close(self) -> None:
        """See `IPool`."""
        self._waiting.clear()
        self._grows = self._has_grown = True  # Who comes now is refused, as by workers.
        thread, self._thread = self._thread, None
        if thread is not None:
            # Bounded, as `ProcessPool` is.
            ending = Thread(target=thread.close, daemon=True)
            ending.start()
            ending.join(0 if self._here.is_stuck else SETTLE_S)
        self._workers.close()

    def _next(self) -> None:
        while self._waiting and not self._is_busy:
            waiting = self._waiting.popleft()
            if waiting.fired.called:  # nobody wants it any more
                continue
            if self._thread is None:
                self._thread = OwnThread(self._reactor, "first jobs")
            self._is_busy = True
            self._here.begin()
            done = self._thread.call(waiting.job, self._tools, *waiting.arguments)
            done.addBoth(self._done)
            done.chainDeferred(waiting.fired)
            done.addBoth(lambda _: self._here.end())

    def _done(self, outcome: T) -> T:
        self._is_busy = False
        self._next()
        return outcome

    def _hand_over(self, _: object) -> None:
        """The workers are there (or will never be, as each job will tell)."""
        self._has_grown = True
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.fired.called:  # nobody wants it any more
                continue
            self._workers.run(waiting.job, *waiting.arguments).chainDeferred(waiting.fired)
