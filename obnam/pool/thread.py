"""One thread of its own, for what must stay on one thread (an SQLite connection) and may block."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """Runs calls one after another on the same thread."""

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=1, maxthreads=1, name=name)
        self._pool.start()

    def call(
        self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> "Deferred[T]":
        """Fires on the reactor's thread with what ``function`` gives or raises."""
        return deferToThreadPool(self._reactor, self._pool, function, *arguments, **named)

    def close(self) -> None:
        """Wait for the last call, and end the thread."""
        self._pool.stop()
