"""The owner's side of all its workers: their processes, and where it answers them."""

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port
from twisted.internet.unix import Port as UnixPort

from obnam_server.api import Api
from obnam_server.config import Settings
from obnam_server.ports import CannotListen, PrivateSocket
from obnam_server.services import Services
from obnam_server.sockets import WORKERS_SOCKET_NAME
from obnam_server.workers.crew import Crew
from obnam_server.workers.desk import Desk
from obnam_server.workers.desk_site import DeskSite

STOP_S = 5.0
"""How long connections may take to close when their workers have ended."""


@define(eq=False)
class Workers:
    """All of them, from the start of the server to its end. `open` makes it."""

    site: DeskSite
    _settings: Settings
    _reactor: ReactorBase
    _socket: PrivateSocket
    _crew: Crew | None = field(init=False, default=None)

    @classmethod
    def open(
        cls, settings: Settings, api: Api, services: Services, reactor: ReactorBase
    ) -> "Workers":
        """Listen for them. `CannotListen`."""
        desk = Desk(services.work, services.counters, services.clock)
        site = DeskSite(api.app.resource(), desk, services, reactor)
        path = settings.data_directory / WORKERS_SOCKET_NAME
        try:
            return cls(site, settings, reactor, PrivateSocket.open(path, site, reactor))
        except CannotListenError as error:
            problem = f"{error.socketError}; workers need a data directory that can have sockets"
            raise CannotListen(f"unix:{path}", problem) from error

    def take_over(self, ports: Sequence[IListeningPort]) -> None:
        """From now on the workers take connections in, at those ports that speak TLS."""
        streams = [port for port in ports if isinstance(port, Port)]
        encrypted = [port for port in streams if not isinstance(port, UnixPort)]
        for port in encrypted:
            port.stopReading()
        descriptors = [port.fileno() for port in encrypted]
        settings = self._settings
        self._crew = Crew(self._reactor, settings.path, descriptors, settings.workers)
        self._reactor.callWhenRunning(self._crew.start)

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [] if self._crew is None else self._crew.pids

    async def reload(self) -> None:
        """There is another certificate; returns when all workers have it."""
        if self._crew is not None:
            await self._crew.reload()

    async def stop(self) -> None:
        """Have the requests under way finished, and end the workers."""
        drained = self.site.drain()
        if self._crew is not None:
            await self._crew.stop()
        await self._socket.close()
        drained.addTimeout(STOP_S, self._reactor, lambda result, _: self.site.abort())
        await drained
