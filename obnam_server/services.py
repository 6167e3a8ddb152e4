"""What requests need: made once, by the composition root."""

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from werkzeug.routing import Map

from obnam.model.ids import RepositoryName
from obnam_server.auth import Gate
from obnam_server.lent import LentMemories
from obnam_server.monitoring.metrics import Counters
from obnam_server.room import Room
from obnam_server.routes import Route
from obnam_server.sharing.crowd import Crowd
from obnam_server.sharing.queues import Queues
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.work import Work


@define
class Repositories:
    """The repositories that are open."""

    _store: Store
    _work: Work
    _open: dict[RepositoryName, RepositoryStore] = field(factory=dict)

    async def get(self, name: RepositoryName) -> RepositoryStore:
        """The repository of that name, if there is one. `NotFound`."""
        return await self._got(name, self._store.repository)

    async def of_client(self, name: RepositoryName) -> RepositoryStore:
        """The same for a request of a client of it: the first one makes it. `AccessDenied`."""
        return await self._got(name, self._store.repository_for_client)

    async def _got(
        self, name: RepositoryName, by: Callable[[RepositoryName], RepositoryStore]
    ) -> RepositoryStore:
        found = self._open.get(name)
        if found is not None and found.gone:
            # Not to be kept in memory: a new one of that name has to wait for its end.
            del self._open[name]
            found = None
        if found is None:
            found = self._open[name] = await self._work.write(by, name)
        return found


@define
class Services:
    """All that requests need."""

    url_map: Map
    routes: dict[str, Route]
    gate: Gate
    repositories: Repositories
    work: Work
    clock: IReactorTime
    counters: Counters
    queues: Queues
    room: Room
    crowd: Crowd = field(factory=Crowd)
    lent: LentMemories | None = None


class ServingSite(Protocol):
    """A site whose requests find them there."""

    services: Services
