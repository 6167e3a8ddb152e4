# mypy: disable-error-code="no-untyped-call"
"""What is lent to a TLS transport: sealed at once, in order, and not kept."""

from contextlib import suppress
from typing import Any

import trustme
from attrs import define, field
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from obnam.wire.bulk_tls import BulkTlsFactory

SERVER = SSL.Context(SSL.TLS_SERVER_METHOD)
trustme.CA().issue_cert("localhost").configure_cert(SERVER)
LARGE = bytes(range(256)) * 1024


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    """Trusts everyone."""

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


class Below(StringTransport):
    """What is below TLS."""

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Nothing is delayed here."""


@define
class Line:
    """A client's transport, and the server's end of it."""

    clock: Clock = field(factory=Clock)
    below: Below = field(factory=Below)
    server: SSL.Connection = field(init=False)
    tls: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = SSL.Connection(SERVER, None)
        self.server.set_accept_state()
        factory = BulkTlsFactory(Creator(), True, Factory.forProtocol(Protocol), clock=self.clock)
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

    def received(self) -> bytes:
        """What came to the other end."""
        self.carry()
        found = b""
        with suppress(SSL.WantReadError):
            while True:
                found += self.server.recv(100_000)
        return found


def connected() -> Line:
    line = Line()
    for _ in range(3):
        line.carry()
    return line


def test_what_is_lent_is_free_once_it_is_written() -> None:
    line = connected()
    lent = bytearray(LARGE)
    line.tls.write(memoryview(lent))
    lent[:] = bytes(len(lent))
    lent.clear()  # Nothing refers to it.
    assert line.received() == LARGE


def test_it_goes_behind_what_was_gathered() -> None:
    line = connected()
    line.tls.write(b"head ")
    line.tls.write(memoryview(b"lent "))
    line.tls.write(b"tail")
    assert line.received() == b"head lent tail"


def test_before_the_handshake_it_is_copied() -> None:
    line = Line()
    lent = bytearray(LARGE)
    line.tls.write(b"head ")
    line.tls.write(memoryview(lent))
    lent.clear()
    for _ in range(3):
        line.carry()
    assert line.received() == b"head " + LARGE


def test_a_connection_that_fails_keeps_nothing() -> None:
    line = connected()
    lent = bytearray(LARGE)
    line.tls._tlsConnection.shutdown()  # OpenSSL takes no more.
    with memoryview(lent) as view:
        line.tls.write(view)
    lent.clear()
    assert line.below.disconnecting


def test_a_connection_that_is_closed_keeps_nothing() -> None:
    line = connected()
    line.tls.loseConnection()
    lent = bytearray(LARGE)
    line.tls.write(memoryview(lent))
    lent.clear()
    assert not line.below.value() or len(line.below.value()) < 100  # Only the goodbye.
