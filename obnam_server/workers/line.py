"""A worker's end of a connection with the owner: it stands for one connection of a client.

Speaks HTTP through Twisted's `HTTP11ClientProtocol`, which has been what it is since Twisted 9,
because an `Agent` chooses among connections, and here there is one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IReactorUNIX
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from obnam_server.channel import SOCKET_BYTES
from obnam_server.sockets import socket_address

HOST = b"owner"
"""HTTP/1.1 wants a host, and there is none."""


class LineLost(Exception):
    """The owner has closed the connection, or cannot be reached."""


@define(eq=False)
class OwnerLine:
    """One request after another. ``lost``: called when there can be no more."""

    _lost: Callable[[], None]
    _ready: Deferred[HTTP11ClientProtocol] = field(factory=Deferred)
    _protocol: HTTP11ClientProtocol | None = None
    _ended: bool = False

    @classmethod
    def open(
        cls, path: Path, source: str | None, reactor: IReactorUNIX, lost: Callable[[], None]
    ) -> "OwnerLine":
        """Connect to the owner's socket at ``path``, and say from where the client comes."""
        line = cls(lost)
        with socket_address(path) as address:
            reactor.connectUNIX(address, _Dialled(line, source))
        return line

    async def ask(
        self, method: bytes, target: bytes, headers: Headers, body: IBodyProducer | None = None
    ) -> IResponse:
        """The owner's answer, its body still to come. `LineLost`, ``ValueError``: no request."""
        if self._protocol is None:
            if self._ended:
                raise LineLost
            waiting: Deferred[HTTP11ClientProtocol] = Deferred()
            self._ready.addBoth(_tell, waiting)
            await waiting
        assert self._protocol is not None
        headers.setRawHeaders(b"Host", [HOST])
        request = Request(method, target, headers, body, persistent=True)
        try:
            return await self._protocol.request(request)
        except Exception as error:  # several of Twisted's, all of them the end of the connection
            raise LineLost from error

    def abort(self) -> None:
        """The client is gone: let go of everything."""
        self._ended = True
        if self._protocol is not None:
            _cut(self._protocol)

    def connected(self, protocol: HTTP11ClientProtocol) -> None:
        """For `_Dialled`."""
        if self._ended:
            _cut(protocol)
            return
        self._protocol = protocol
        self._ready.callback(protocol)

    def ended(self) -> None:
        """For `_Dialled`."""
        already, self._ended = self._ended, True
        if self._protocol is None and not self._ready.called:
            self._ready.addErrback(lambda _: None)
            self._ready.errback(LineLost())
        if not already:
            self._lost()


async def body_of(response: IResponse) -> bytes:
    """The whole body of an answer. `LineLost`."""
    collected = _Collected()
    response.deliverBody(collected)
    return await collected.whole


class _Collected(Protocol):
    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.whole: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """A piece."""
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """That was all, or there will be no more."""
        if self.whole.called:
            return  # nobody waits any more
        if reason.check(ResponseDone):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(LineLost())


def _cut(protocol: HTTP11ClientProtocol) -> None:
    """Now, and not when all is written: the owner may be waiting for something else."""
    cast(Any, protocol.transport).abortConnection()


def _tell(result: Any, waiting: "Deferred[Any]") -> Any:
    """Tell one who waits, and keep the result for the next."""
    if isinstance(result, Failure):
        waiting.errback(result)
    else:
        waiting.callback(result)
    return result


class _Spoken(HTTP11ClientProtocol):
    """The connection."""

    factory: "_Dialled"

    def connectionMade(self) -> None:
        """First of all, say from where the client comes."""
        super().connectionMade()
        below = cast(Any, self.transport)
        below.bufferSize = SOCKET_BYTES // 4
        below.write(self.factory.first_line)
        self.factory.line.connected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The owner has closed it, or is gone."""
        super().connectionLost(reason)
        self.factory.line.ended()


class _Dialled(ClientFactory):
    noisy = False
    protocol = _Spoken  # type: ignore[assignment]

    def __init__(self, line: OwnerLine, source: str | None) -> None:
        self.line = line
        self.first_line = (source or "").encode("ascii") + b"\r\n"

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """The owner does not listen."""
        self.line.ended()


@implementer(IBodyProducer)
@define(eq=False)
class PassedBody:
    """A client's body, passed on as it comes. ``length``: bytes.

    ``_pause`` and ``_resume``: ask the client to wait, and to go on.
    """

    length: int
    _pause: Callable[[], None]
    _resume: Callable[[], None]
    _consumer: IConsumer | None = None
    _held: list[bytes] = field(init=False, factory=list)
    _left: int = field(init=False)
    _whole: Deferred[None] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._left = self.length

    @classmethod
    def of(cls, content: bytes) -> "PassedBody":
        """One that is here already."""
        body = cls(len(content), lambda: None, lambda: None)
        body.feed(content)
        return body

    def feed(self, piece: bytes) -> None:
        """The next piece."""
        if self._left < 0:
            return
        self._left -= len(piece)
        if self._consumer is None:
            self._held.append(piece)
            self._pause()
            return
        self._consumer.write(piece)
        self._end_if_whole()

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """See `IBodyProducer`."""
        self._consumer = consumer
        whole = self._whole = Deferred()
        held, self._held = self._held, []
        for piece in held:
            consumer.write(piece)
        self._resume()
        self._end_if_whole()
        return whole

    def _end_if_whole(self) -> None:
        if self._left == 0 and self._whole is not None:
            whole, self._whole = self._whole, None
            whole.callback(None)

    def pauseProducing(self) -> None:
        """See `IBodyProducer`."""
        self._pause()

    def resumeProducing(self) -> None:
        """See `IBodyProducer`."""
        self._resume()

    def stopProducing(self) -> None:
        """See `IBodyProducer`. What still comes is dropped."""
        self._left = -1
