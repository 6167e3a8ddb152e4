"""Heads of answers, within bounds: twisted.web takes headers, and 1xx answers, without end.

Leans on a name of `HTTP11ClientProtocol` that is the same since Twisted 9: its ``_parser``, which
has a ``state``.
"""

from typing import Any

from attrs import define
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web._newclient import HEADER, STATUS
from zope.interface import implementer

from obnam.repository.deferring import returns_deferred
from obnam.wire.limits import ANSWER_HEADER_MAX


@implementer(IStreamClientEndpoint)
@define
class BoundedHeads:
    """An endpoint on whose connections the head of an answer has at most `ANSWER_HEADER_MAX`."""

    endpoint: IStreamClientEndpoint

    @returns_deferred
    async def connect(self, factory: IProtocolFactory) -> IProtocol:
        """See `IStreamClientEndpoint`."""
        protocol = await self.endpoint.connect(factory)
        bound(protocol)
        return protocol


def bound(protocol: Any) -> None:
    """Have the protocol count the bytes of heads, and cut the connection if they are too many."""
    receive, size = protocol.dataReceived, 0

    def received(data: bytes) -> None:
        nonlocal size
        before = protocol._parser
        receive(data)
        parser = protocol._parser
        # Another one: the answer is whole, and the next request was made within.
        if parser is None or parser is not before or parser.state not in (STATUS, HEADER):
            size = 0
            return
        size += len(data)
        if size > ANSWER_HEADER_MAX:
            # As if it were lost: whatever the request is doing, that is its end.
            protocol.transport.abortConnection()

    protocol.dataReceived = received
