"""Looks at every repository once a minute: for the metrics, for missed backups, for damage. And
whether there is room again for the reserve.

So that a scrape of the metrics costs nothing, and clients that do not come are noticed.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from obnam.errors import NotFound, ObnamError
from obnam.model.ids import RepositoryName
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.events import Events
from obnam_server.store.accounts.clients import Client
from obnam_server.store.figures import RepositoryFigures, look_at
from obnam_server.store.store import Store
from obnam_server.upkeep.rounds import TaskState
from obnam_server.work import Work

log = Logger()

FIRST_S = 10.0
"""After the start: clients that waited for the server come first."""

EVERY_S = 60.0
"""Figures are at most this old, and a bit: as old as what Prometheus has anyway."""


@define(eq=False)
class Watch:
    """Keeps ``figures`` fresh, and announces what it sees."""

    _store: Store
    _work: Work
    _events: Events
    _clock: IReactorTime
    _now_ns: Callable[[], int]
    _states: Mapping[tuple[RepositoryName, str], TaskState] = field(factory=dict)
    figures: dict[RepositoryName, RepositoryFigures] = field(factory=dict)
    _problems: dict[RepositoryName, str] = field(factory=dict)
    _told_ns: dict[tuple[RepositoryName, str], int] = field(factory=dict)
    _next: IDelayedCall | None = None
    _looking: Deferred[None] | None = None
    _stopped: bool = False

    def start(self) -> None:
        """Look, in a while, and from then on."""
        self._next = self._clock.callLater(FIRST_S, self._begin)

    def _begin(self) -> None:
        self._looking = Deferred.fromCoroutine(self.look())
        self._looking.addErrback(self._failed)
        self._looking.addCallback(self._again)

    def stop(self) -> "Deferred[None]":
        """Look no more; fires when a look that is under way has ended."""
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        return self._looking or succeed(None)

    def _again(self, _: None) -> None:
        self._looking = None
        if not self._stopped:
            self._next = self._clock.callLater(EVERY_S, self._begin)

    def _failed(self, failure: Failure) -> None:
        log.failure("Looking at the repositories failed", failure=failure)

    async def look(self) -> None:
        """Look at all repositories."""
        names = await self._work.read(self._store.repositories)
        clients = await self._work.read(self._store.clients.list)
        for name in names:
            if self._stopped:
                return
            try:
                found = await self._look_at(name, clients)
            except NotFound:
                continue  # Destroyed meanwhile.
            except ObnamError as error:
                if self._problems.get(name) != str(error):
                    log.error("repository {name}: {error}", name=name, error=error)
                self._problems[name] = str(error)
                self.figures.pop(name, None)  # old ones would say that all is well
                continue
            self._problems.pop(name, None)
            self._announce(found)
            self.figures[name] = found
        for name in self.figures.keys() - set(names):
            del self.figures[name]
        self._announce_upkeep()
        await self._work.write(self._store.reserve.keep)

    async def _look_at(self, name: RepositoryName, clients: Sequence[Client]) -> RepositoryFigures:
        repository = await self._work.write(self._store.repository, name)
        return await self._work.read(
            look_at, repository, self._store.settings, clients, self._now_ns()
        )

    def _announce(self, found: RepositoryFigures) -> None:
        name, events = found.name, self._events
        before = self.figures.get(name)
        damaged = found.damaged_chunk_count
        if damaged > (0 if before is None else before.damaged_chunk_count):
            text = f"{damaged} chunks are damaged; the next backups that have them send them again"
            events.announce(Kind.DAMAGE, text, repository=name)
        for client in found.clients:
            if not client.missed:
                events.over(Kind.MISSED_BACKUP, name, client.name)
                continue
            last = "there is none" if client.last_good_ns is None else "the last one is too old"
            text = f"a backup is overdue: {last}"
            events.announce_seldom(Kind.MISSED_BACKUP, text, repository=name, client=client.name)

    def _announce_upkeep(self) -> None:
        for (name, task), state in self._states.items():
            if state.problem and self._told_ns.get((name, task)) != state.failed_ns:
                self._told_ns[name, task] = state.failed_ns
                text = f"{task}: {state.problem}"
                self._events.announce(Kind.UPKEEP_FAILED, text, repository=name)
