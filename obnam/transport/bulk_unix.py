# mypy: disable-error-code="no-untyped-call"
"""Unix sockets for large bodies: at both ends past the buffers of Twisted's transports.

`BulkUnix` stands in for a reactor where Twisted's endpoints listen and connect. No descriptors are
taken: the kernel closes what a peer sends.
"""

import socket
from typing import Any, cast

from attrs import define
from twisted.internet import unix
from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import (
    IConnector,
    IListeningPort,
    IReactorUNIX,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import ClientFactory, Factory
from twisted.internet.tcp import Connection
from zope.interface import implementer

from obnam.transport.places import BulkTransport
from obnam.transport.sending import send_now

LARGE_BYTES = 64 * 1024
"""What is written by pieces of at least this many bytes is sent from where it lies."""

KERNEL_BUFFER_BYTES = 1024 * 1024
"""What the kernel is asked to keep of what was sent. It takes its own limit (``wmem_max``), as a
rule twice what it gives unasked: half as many times have the two ends to wait for each other."""


class _InBulk(BulkTransport, Connection):
    """What both ends of a connection do."""

    def write(self, data: bytes | memoryview) -> None:
        """Send large pieces at once, and have whoever makes them wait for the rest to go."""
        if len(data) < LARGE_BYTES and isinstance(data, bytes):
            super().write(data)
            return
        with memoryview(data) as view:
            sent = send_now(self, view)
            left = bytes(view[sent:])
        if left:
            super().write(left)
            if self.producer is not None and self.streamingProducer and not self.producerPaused:
                self.producerPaused = True
                self.producer.pauseProducing()  # type: ignore[attr-defined]  # a streaming one

    def doRead(self) -> Any:  # noqa: N802
        """Receive into the place, if there is one."""
        place = self.place
        memory = None if place is None else place.room()
        if place is None or not memory:
            return Connection.doRead(self)
        try:
            size_bytes = self.socket.recv_into(memory)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return CONNECTION_LOST
        if not size_bytes:
            return CONNECTION_DONE
        place.filled(size_bytes)
        return None

    def above(self) -> object:
        """See `BulkTransport`. An endpoint of Twisted's puts a protocol of its own between."""
        return getattr(self.protocol, "_wrappedProtocol", self.protocol)


class _Server(_InBulk, unix.Server):
    """The end that was connected to."""

    def __init__(self, sock: socket.socket, *more: Any) -> None:
        super().__init__(sock, *more)
        _enlarge(sock)


class _Client(_InBulk, unix.Client):
    """The end that connects."""

    def createInternetSocket(self) -> socket.socket:  # noqa: N802
        """A new socket."""
        new: socket.socket = super().createInternetSocket()
        _enlarge(new)
        return new


class _Port(unix.Port):
    transport = _Server


class _Connector(unix.Connector):
    def _makeTransport(self) -> Any:  # noqa: N802
        return _Client(self.address, self, self.reactor, self.checkPID)


def _enlarge(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)


@implementer(IReactorUNIX)
@define
class BulkUnix:
    """Listens and connects as ``reactor`` does, with transports of ours."""

    reactor: ReactorBase

    def connectUNIX(  # noqa: N802
        self,
        address: str,
        factory: ClientFactory,
        timeout: float = 30,
        checkPID: bool = False,  # noqa: N803
    ) -> IConnector:
        """See `IReactorUNIX`."""
        connector = _Connector(address, factory, timeout, self.reactor, checkPID)
        connector.connect()
        return connector

    def listenUNIX(  # noqa: N802
        self,
        address: str,
        factory: "Factory[Any]",
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,  # noqa: N803
    ) -> IListeningPort:
        """See `IReactorUNIX`."""
        # "bytes" says the annotation; Twisted itself gives what the endpoint was given.
        port = _Port(cast(bytes, address), factory, backlog, mode, self.reactor, wantPID)
        port.startListening()
        return port
