"""Threads for the store's blocking calls, so that the reactor never waits for a disk.

One thread changes state (`Work.write`), so that a change is one call after another and needs no
lock; several read; several take uploads in, where fsync waits; one does the server's own upkeep.
What was begun runs to its end, even when nobody waits for it any more: a client that goes away
cancels only the waiting.
"""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from obnam.errors import ObnamError

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

READER_THREADS = 4
"""Threads that look up and read: as many as clients' downloads that wait for disks at once."""

log = Logger()


class NoThread(ObnamError):
    """The system starts no thread, and none is there that could do the work."""

    def __str__(self) -> str:
        return (
            "no thread can be started; raise the limit on processes (`ulimit -u`), or on memory "
            "(`ulimit -v`)"
        )


UPLOAD_THREADS = 8
"""Threads that write and fsync uploads. An fsync takes 1 to 100 ms, and they wait in parallel."""


@define
class Work:
    """The thread pools. ``start`` before the first call, ``stop`` after the last.

    Without a reactor there are no threads, and each call is done at once: for a command that has
    the store to itself.
    """

    _reactor: ReactorBase | None
    _writer: ThreadPool = field(factory=lambda: ThreadPool(1, 1, "writer"))
    _readers: ThreadPool = field(factory=lambda: ThreadPool(1, READER_THREADS, "reader"))
    _uploads: ThreadPool = field(factory=lambda: ThreadPool(1, UPLOAD_THREADS, "upload"))
    _upkeep: ThreadPool = field(factory=lambda: ThreadPool(1, 1, "upkeep"))
    depths: Counter[str] = field(factory=Counter)
    """Calls that wait or run, by the name of their pool."""
    _under_way: int = 0
    _waiting: list[Deferred[None]] = field(factory=list)

    def start(self) -> None:
        """Begin a thread in each pool; the others begin when there is work for them.

        `NoThread`: that cannot be; then there is none.
        """
        try:
            for pool in (self._writer, self._readers, self._uploads, self._upkeep):
                pool.start()
        except RuntimeError as error:
            for pool in (self._writer, self._readers, self._uploads, self._upkeep):
                _forget_unborn(pool)
                pool.stop()
            raise NoThread from error

    def stop(self) -> None:
        """Wait for what is under way (blocking), and end the threads."""
        for pool in (self._upkeep, self._uploads, self._readers, self._writer):
            pool.stop()

    def write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """A change of state: on the one writer thread, in the order of these calls."""
        return self._defer(self._writer, call, *args, **kwargs)

    def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """Something that only reads."""
        return self._defer(self._readers, call, *args, **kwargs)

    def upload(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """A piece of taking an upload in."""
        return self._defer(self._uploads, call, *args, **kwargs)

    def background(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """A piece of upkeep: on a thread of its own, so that no client waits behind it."""
        return self._defer(self._upkeep, call, *args, **kwargs)

    def whole(self, steps: Coroutine[Deferred[Any], Any, T]) -> "Deferred[T]":
        """Several steps that belong together: begun, they are all taken, whoever goes away."""
        self._under_way += 1
        return shielded(Deferred.fromCoroutine(steps).addBoth(self._done))

    def idle(self) -> "Deferred[None]":
        """Fires when nothing is under way."""
        if not self._under_way:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _defer(
        self, pool: ThreadPool, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "Deferred[T]":
        if self._reactor is None:
            return execute(call, *args, **kwargs)
        self._under_way += 1
        self.depths[str(pool.name)] += 1
        work: Deferred[T]
        try:
            work = deferToThreadPool(self._reactor, pool, call, *args, **kwargs)
        except RuntimeError:
            # No more threads can be started: so those that there are do it, after what they do now.
            _forget_unborn(pool)
            pool.adjustPoolsize(maxthreads=len(pool.threads))
            work = deferToThreadPool(self._reactor, pool, call, *args, **kwargs)
        return shielded(work.addBoth(self._left, str(pool.name)).addBoth(self._done))

    def _left(self, result: R, pool: str) -> R:
        self.depths[pool] -= 1
        return result

    def _done(self, result: R) -> R:
        self._under_way -= 1
        if not self._under_way:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
        return result


def _forget_unborn(pool: ThreadPool) -> None:
    """Leave out threads that could not be started, for which nobody can wait."""
    pool.threads[:] = [thread for thread in pool.threads if thread.ident is not None]


def shielded(work: "Deferred[T]") -> "Deferred[T]":
    """A Deferred with the result of ``work``; cancelling it leaves ``work`` alone.

    The result of work that nobody waits for any more is dropped; a failure of it is logged.
    """
    front: Deferred[T] = Deferred()

    def deliver(result: T | Failure) -> None:
        if not front.called:
            front.callback(result)
        elif isinstance(result, Failure):
            log.info("Failed after its client went away: {error}", error=result.value)

    work.addBoth(deliver)
    return front
