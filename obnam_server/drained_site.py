"""A site that knows its connections, and can bring them to an end."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import IResource
from twisted.web.server import Site


class DrainedSite(Site):
    """All connections to some listening ports. Each enters itself in ``channels``."""

    noisy = False

    def __init__(
        self,
        resource: IResource,
        request_factory: type[Request],
        reactor: IReactorTime,
        timeout_s: float | None,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=request_factory,
            parsePOSTFormSubmission=False,
            timeout=timeout_s,
            reactor=reactor,
        )
        self.channels: set[Any] = set()
        self.draining = False
        self._drained: Deferred[None] | None = None

    def startFactory(self) -> None:
        """No access log, so no clock for it either."""

    def stopFactory(self) -> None:
        """See `startFactory`."""

    def log(self, request: Request) -> None:
        """See `startFactory`."""

    def is_busy(self, channel: HTTPChannel) -> bool:
        """Whether something is done for a connection."""
        return bool(channel.requests)

    def drain(self) -> "Deferred[None]":
        """Finish the requests under way, take no new ones; fires when all are gone."""
        self.draining = True
        if not self.channels:
            return succeed(None)
        drained = self._drained = Deferred()
        for channel in list(self.channels):
            if not self.is_busy(channel):
                channel.loseConnection()
        return drained

    def abort(self) -> None:
        """Cut all connections."""
        for channel in list(self.channels):
            channel.forceAbortClient()

    def channel_lost(self, channel: HTTPChannel) -> None:
        """A connection is gone."""
        self.channels.discard(channel)
        if not self.channels and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
