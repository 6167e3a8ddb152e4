"""The process pool's front: jobs in, Deferreds out."""

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import Interface, implementer

from obnam.crypto.envelope import Compression
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Suite
from obnam.errors import ObnamError, naming
from obnam.memory import reuse_buffers
from obnam.pool import worker
from obnam.pool.under_way import SETTLE_S, UnderWay
from obnam.pool.watch import Watch

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

KILLED_S = 1.0
"""How long workers that were killed may take to be gone: who waits for a disk stays for now."""


class WorkerDied(ObnamError):
    """A worker process ended in the middle of a job: killed, or out of memory."""

    def __str__(self) -> str:
        return (
            "a worker process died (was it killed, is memory short, or `ulimit -u` too low?); "
            "what was done so far is kept: run the command again, "
            "a restore with --overwrite if-changed"
        )


class IPool(Interface):
    """Runs jobs elsewhere, so that the reactor stays free."""

    def run(job: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Do ``job(tools, *arguments)``; fires with its result or its exception.

        Job, arguments and result are picklable and small; what is large lies in slabs.
        """

    def settled() -> "Deferred[None]":
        """Fires when no job is under way, not even one whose Deferred was cancelled.

        To be awaited before what they work on is taken away. Fires after `SETTLE_S` in any case.
        """

    def rest() -> None:
        """No job is under way, and none is expected: let workers end, without waiting for that.

        A job that comes all the same starts others.
        """

    def close() -> None:
        """End the workers; jobs that have not begun are dropped, those under way waited for."""


@implementer(IPool)
class ProcessPool:
    """Worker processes, started when there is work, each with the repository's keys."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        workers: int,
        keys: RepositoryKeys,
        suite: Suite,
        compression: Compression,
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._tools = (keys, suite, compression)
        self._executor: ProcessPoolExecutor | None = None
        self._watches: list[Watch] = []
        # Submitting may start a worker, which blocks until it runs: 0.2 s for the first, with
        # which the fork server is started; then next to nothing.
        self._submitting = ThreadPoolExecutor(1, "submit")
        self._has_begun = False
        self._is_closed = False
        self._has_died = False
        self._ending: list[Thread] = []
        self._under_way = UnderWay(reactor)

    def start(self) -> "Deferred[list[None]]":
        """Start all workers now, beside whatever comes before the first job.

        Fires when one is there for each; or fails, as each job will.
        """
        starts = [self.run(worker.nothing) for _ in range(self._workers)]
        return gatherResults(starts, consumeErrors=True)

    def run(self, job: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """See `IPool`."""
        fired: Deferred[T] = Deferred()
        if self._has_begun and not self._is_closed:
            self._submit(fired, job, arguments)
        else:
            self._submitting.submit(self._submit, fired, job, arguments)
        self._under_way.begin()
        return fired

    def settled(self) -> "Deferred[None]":
        """See `IPool`. Workers that end because one of them died count as a job."""
        return self._under_way.settled()

    def _submit(
        self, fired: "Deferred[T]", job: Callable[..., T], arguments: tuple[object, ...]
    ) -> None:
        future: Future[T]
        try:
            # Not `Future.cancel` instead: a pool that breaks with such a one in it hangs.
            if fired.called:
                raise CancelledError
            if self._has_died:
                raise BrokenExecutor
            executor, watch = self._started()
            future = executor.submit(worker.run, job, *arguments)
            watch.look()
        except (EOFError, ConnectionError) as error:
            # What workers are forked from died while it was asked for one.
            future = Future()
            future.set_exception(_chained(BrokenExecutor(), error))
        except Exception as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(
            lambda done: self._reactor.callFromThread(self._deliver, done, fired)
        )

    def rest(self) -> None:
        """See `IPool`."""
        executor, self._executor = self._executor, None
        self._has_begun = False
        if executor is not None:
            self._watches[-1].stop()
            self._beside(executor.shutdown)

    def close(self) -> None:
        """See `IPool`."""
        self._is_closed = True
        for watch in self._watches:
            watch.stop()
        # Waited for: what is left to do when the process is ending hangs (the queue by which
        # workers are told to end is closed before they were told). In a thread, for a bound.
        ending = Thread(target=self._end, daemon=True)
        ending.start()
        ending.join(0 if self._under_way.is_stuck else SETTLE_S)
        if ending.is_alive():
            for watch in self._watches:
                watch.kill()
            ending.join(KILLED_S)
        if ending.is_alive():
            for watch in self._watches:
                watch.give_up_answers()
            ending.join(KILLED_S)
        self._under_way.forget()

    def _end(self) -> None:
        self._submitting.shutdown(wait=True, cancel_futures=True)
        executor, self._executor = self._executor, None
        if executor is not None and not self._has_died:
            executor.shutdown(wait=True, cancel_futures=True)
        for ending in self._ending:
            ending.join()

    def _beside(self, end: Callable[[], None]) -> None:
        """End an executor in a thread, since that waits for its workers."""
        thread = Thread(target=end, daemon=True)
        thread.start()
        self._ending.append(thread)

    def _started(self) -> "tuple[ProcessPoolExecutor, Watch]":
        if self._executor is None:
            # Slow to import, and of no use to a backup that finds nothing to read.
            from concurrent.futures import ProcessPoolExecutor

            from obnam.pool import launch
            from obnam.pool.semaphores import SEMAPHORES

            reuse_buffers()
            with naming(SEMAPHORES):
                self._executor = ProcessPoolExecutor(
                    self._workers, launch.context(), initializer=worker.start, initargs=self._tools
                )
            self._watches.append(Watch(self._executor, self._workers))
        return self._executor, self._watches[-1]

    def _deliver(self, done: "Future[Any]", fired: "Deferred[Any]") -> None:
        self._has_begun = True
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BrokenExecutor):
            self._end_the_others()
            error = _chained(WorkerDied(), error)
        if fired.called or done.cancelled():
            pass  # nobody wants it any more
        elif error is None:
            fired.callback(done.result())
        else:
            fired.errback(error)
        self._under_way.end()

    def _end_the_others(self) -> None:
        """Wait for the workers that still are in the middle of a job when one has died."""
        executor = self._executor
        if self._has_died or executor is None:
            return
        self._has_died = True
        self._watches[-1].stop()
        self._under_way.begin()

        def end() -> None:
            executor.shutdown()
            self._reactor.callFromThread(self._under_way.end)

        self._beside(end)


def _chained(error: E, cause: BaseException) -> E:
    error.__cause__ = cause
    return error
