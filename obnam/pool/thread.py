"""One thread of its own, for what must stay on one thread (an SQLite connection) and may block.

Twisted's thread pool does this too, and shares out work between any number of threads, which costs
it twice to ten times as much a call: a backup of small files makes four for each batch.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """Runs calls one after another on the same thread."""

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name)
        self._thread.start()

    def call(
        self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> "Deferred[T]":
        """Fires on the reactor's thread with what ``function`` gives or raises."""
        fired: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = function(*arguments, **named)
            except BaseException:
                failure = Failure()  # type: ignore[no-untyped-call]
                self._reactor.callFromThread(fired.errback, failure)
            else:
                self._reactor.callFromThread(fired.callback, result)

        self._calls.put(run)
        return fired

    def tell(self, function: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
        """For what runs here: call ``function`` on the reactor's thread, before that is done."""
        self._reactor.callFromThread(function, *arguments, **named)

    def close(self) -> None:
        """Wait for the last call, and end the thread. What is called afterwards is never run."""
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (run := self._calls.get()) is not None:
            run()
            del run  # and with it what the call was given: slabs, say
