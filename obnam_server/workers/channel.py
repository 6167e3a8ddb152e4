"""A worker's connections with clients, and what their requests need."""

from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource

from obnam_server.channel import (
    LEAST_SOCKET_BYTES,
    SOCKET_BYTES,
    SOCKETS_MEMORY,
    ApiChannel,
    Channels,
)
from obnam_server.sharing.crowd import Crowd
from obnam_server.sharing.queues import share_of_memory
from obnam_server.work import Work
from obnam_server.workers.line import OwnerLine

NO_LIMIT = 1 << 30
"""Connections. The owner counts those of all workers, and cuts what is too many."""


@define(eq=False)
class Carriage:
    """What requests in a worker need. ``data``: the data directory."""

    data: Path
    owner: Path
    """The owner's socket."""
    work: Work
    reactor: ReactorBase
    carried: int = field(init=False, default=0)
    """Bodies and answers that are being carried now: they share the memory."""

    def share(self, all_bytes: int, most: int, least: int) -> int:
        """Bytes that each of them may have."""
        return share_of_memory(all_bytes, self.carried, most, least)


class WorkerChannel(ApiChannel):
    """One connection with a client, and the line to the owner that stands for it."""

    site: "WorkerSite"
    line: OwnerLine
    has_asked = False
    """Whether a request has come."""

    def introduce(self, source: str | None) -> None:
        """Open the line."""
        super().introduce(source)
        carriage = self.site.carriage
        reactor = cast(IReactorUNIX, carriage.reactor)
        self.line = OwnerLine.open(carriage.owner, source, reactor, self._owner_hung_up)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone: the owner shall know."""
        super().connectionLost(reason)
        self.line.abort()

    def carry(self) -> None:
        """A large body, or answer, begins: take it in larger pieces until the request is done."""
        self.set_buffer(self.site.carriage.share(SOCKETS_MEMORY, SOCKET_BYTES, LEAST_SOCKET_BYTES))

    def _owner_hung_up(self) -> None:
        """Whoever has no answer yet sees by the line that there will be none."""
        self.persistent = False
        if not self.has_asked:
            # The owner has too many of those: nothing is waited for, not even a goodbye.
            self.forceAbortClient()
        elif not self.requests:
            self.loseConnection()


class WorkerSite(Channels):
    """All connections with clients."""

    protocol = WorkerChannel  # Twisted's own is a function

    def __init__(self, carriage: Carriage, request_factory: type[Request]) -> None:
        crowd = Crowd(NO_LIMIT, NO_LIMIT, NO_LIMIT)
        super().__init__(Resource(), request_factory, crowd, cast(Any, carriage.reactor))
        self.carriage = carriage
