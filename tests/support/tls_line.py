# mypy: disable-error-code="no-untyped-call"
"""A client's transport of TLS in large steps and the server's end, with nothing between them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import trustme
from attrs import define, field
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from obnam.transport.bulk_tls import BulkTlsFactory

P = TypeVar("P", bound=Protocol)

SERVER = SSL.Context(SSL.TLS_SERVER_METHOD)
trustme.CA().issue_cert("localhost").configure_cert(SERVER)


@implementer(IOpenSSLClientConnectionCreator)
class TrustsEveryone:
    """A client that takes any certificate."""

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803
        """One end, for one connection."""
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


class Below(StringTransport):
    """What is below TLS. ``at_goodbye`` is called when it is told to close."""

    at_goodbye: Callable[[], object] = staticmethod(lambda: None)

    def loseConnection(self) -> None:  # noqa: N802
        """Close."""
        super().loseConnection()
        self.at_goodbye()

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Nothing is delayed here."""


@define
class Line(Generic[P]):
    """``above`` is the client's protocol, ``tls`` its transport; ``server`` the other end."""

    above: P
    clock: Clock = field(factory=Clock)
    below: Below = field(factory=Below)
    server: SSL.Connection = field(init=False)
    tls: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = SSL.Connection(SERVER, None)
        self.server.set_accept_state()
        above = Factory.forProtocol(lambda: self.above)
        factory = BulkTlsFactory(TrustsEveryone(), True, above, clock=self.clock)
        self.tls = factory.buildProtocol(None)
        self.tls.makeConnection(self.below)

    def carry(self) -> None:
        """What is sealed goes to the other end, and what that says comes back."""
        self.clock.advance(0)
        if self.below.value():
            self.server.bio_write(self.below.value())
            self.below.clear()
        with suppress(SSL.WantReadError):
            self.server.do_handshake()
        with suppress(SSL.WantReadError):
            self.tls.dataReceived(self.server.bio_read(100_000))

    def shake_hands(self) -> None:
        """Carry until both know each other."""
        for _ in range(3):
            self.carry()

    def sealed(self, data: bytes) -> bytes:
        """Records with ``data`` of the other end's, on their way."""
        return records(self.server, data)

    def received(self) -> bytes:
        """What came to the other end."""
        self.carry()
        found = b""
        with suppress(SSL.WantReadError, SSL.ZeroReturnError):
            while True:
                found += self.server.recv(100_000)
        return found


def connected(above: P) -> Line[P]:
    """A line whose ends know each other."""
    line = Line(above)
    line.shake_hands()
    return line


def records(end: SSL.Connection, data: bytes) -> bytes:
    """``data`` as one end has it for the other one."""
    if not data:
        return b""
    for at in range(0, len(data), 1 << 14):
        end.send(data[at : at + (1 << 14)])
    return end.bio_read(2 * len(data) + 100_000)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Pieces of these sizes, and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]
