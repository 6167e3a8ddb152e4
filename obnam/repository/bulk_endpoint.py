"""The endpoint of a TLS connection for large bodies (see `obnam.transport.bulk_tls`)."""

from typing import cast

from attrs import define
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from obnam.repository.deferring import returns_deferred
from obnam.transport.bulk_tls import BulkTlsFactory, BulkTlsTransport


@implementer(IStreamClientEndpoint)
@define
class BulkTlsEndpoint:
    """Upgrades the connections of ``plain`` to TLS at once."""

    creator: IOpenSSLClientConnectionCreator
    plain: IStreamClientEndpoint
    clock: IReactorTime

    @returns_deferred
    async def connect(self, factory: IProtocolFactory) -> IProtocol:
        """See `IStreamClientEndpoint`."""
        wrapper = BulkTlsFactory(self.creator, True, factory, clock=self.clock)
        # What the endpoint gives is what `BulkTlsFactory` built.
        transport = cast(BulkTlsTransport, await self.plain.connect(wrapper))
        return transport.wrappedProtocol
