"""The rounds that a server makes through its repositories, one after another, by itself.

In each repository a round does its tasks in order. What fails is said in the log and in `Rounds`'
figures, and the rest goes on: the next round tries again.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from obnam.errors import ObnamError
from obnam.model.ids import RepositoryName
from obnam_server.store.errors import CollectionWaits
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work

FIRST_ROUND_S = 60.0
"""After the start: clients that waited for the server come first."""

T = TypeVar("T")

log = Logger()


@frozen
class Task:
    """One kind of upkeep of one repository."""

    name: str
    run: Callable[[RepositoryStore, Pace], Coroutine[Deferred[Any], Any, None]]


@define
class TaskState:
    """How a task went last in a repository. Times: ns since the epoch, 0: never.

    ``waits_until_ns``: it could not be done yet, and can then at the latest; 0: it does not wait.
    """

    done_ns: int = 0
    failed_ns: int = 0
    waits_until_ns: int = 0
    problem: str = ""


@define(eq=False)
class Rounds:
    """Makes a round every ``every_s`` seconds; `stop` ends the one that is under way."""

    _store: Store
    _work: Work
    _clock: IReactorTime
    _now_ns: Callable[[], int]
    pace: Pace
    _every_s: float
    _tasks: Sequence[Task]
    states: dict[tuple[RepositoryName, str], TaskState] = field(init=False, factory=dict)
    _running: Deferred[None] | None = field(init=False, default=None)
    _turn: DeferredLock = field(init=False, factory=DeferredLock)
    _asked: set[Deferred[Any]] = field(init=False, factory=set)

    def start(self) -> None:
        """Begin, with the first round in a while."""
        self._running = Deferred.fromCoroutine(self._go_on())

    async def stop(self) -> None:
        """Leave off; what a task has under way comes to a good end first."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await running
        for each in list(self._asked):
            each.cancel()
        await self._turn.acquire()

    async def in_turn(self, steps: Coroutine[Deferred[Any], Any, T]) -> T:
        """Take the steps of a task, or of upkeep that somebody asked for: one at a time."""
        asked = Deferred.fromCoroutine(self._in_turn(steps))
        self._asked.add(asked)
        try:
            return await asked
        finally:
            self._asked.discard(asked)

    async def _in_turn(self, steps: Coroutine[Deferred[Any], Any, T]) -> T:
        try:
            await self._turn.acquire()
        except BaseException:
            steps.close()
            raise
        try:
            return await steps
        finally:
            self._turn.release()

    async def _go_on(self) -> None:
        wait_s = FIRST_ROUND_S
        try:
            while True:
                pause: Deferred[None] = deferLater(self._clock, wait_s)
                await pause
                await self.round()
                wait_s = self._every_s
        except CancelledError:
            return  # `stop`

    async def round(self) -> None:
        """All tasks, in all repositories."""
        for name in await self._work.read(self._store.repositories):
            for task in self._tasks:
                await self._run(name, task)

    async def _run(self, name: RepositoryName, task: Task) -> None:
        state = self.states.setdefault((name, task.name), TaskState())
        try:
            repository = await self._work.write(self._store.repository, name)
            await self.in_turn(task.run(repository, self.pace))
        except CancelledError:
            raise
        except CollectionWaits as waits:
            # No failure, which somebody would be called for: it ends by itself.
            log.info("{task} of {waits}", task=task.name, waits=waits)
            state.waits_until_ns, state.problem = waits.until_ns, ""
            return
        except ObnamError as error:
            log.warn(
                "{task} of repository {name} failed: {error}",
                task=task.name,
                name=name,
                error=error,
            )
            state.failed_ns, state.problem = self._now_ns(), str(error)
        except Exception as error:
            # Our own mistake: said with its traceback. The other tasks must not suffer for it.
            log.failure("{task} of repository {name} failed", task=task.name, name=name)
            state.failed_ns, state.problem = self._now_ns(), repr(error)
        else:
            state.done_ns, state.problem = self._now_ns(), ""
        state.waits_until_ns = 0
