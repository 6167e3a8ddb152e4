# mypy: disable-error-code="no-untyped-call"
"""TLS in large steps: what is lent is sealed at once and not kept; what came is heard in order."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trustme
from attrs import define, field
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from obnam.transport.bulk_tls import OPENED_AT_ONCE, BulkTlsFactory

SERVER = SSL.Context(SSL.TLS_SERVER_METHOD)
trustme.CA().issue_cert("localhost").configure_cert(SERVER)
LARGE = bytes(range(256)) * 1024


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    """Trusts everyone."""

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803
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


class Hearing(Protocol):
    """Remembers what it hears, and does something at each piece of it."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.at_each: Callable[[], object] = lambda: None

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """A piece."""
        self.heard.append(bytes(data))
        self.at_each()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """The end, and why."""
        self.heard.append(type(reason.value))


@define
class Line:
    """A client's transport, and the server's end of it."""

    clock: Clock = field(factory=Clock)
    below: Below = field(factory=Below)
    above: Hearing = field(factory=Hearing)
    server: SSL.Connection = field(init=False)
    tls: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = SSL.Connection(SERVER, None)
        self.server.set_accept_state()
        above = Factory.forProtocol(lambda: self.above)
        factory = BulkTlsFactory(Creator(), True, above, clock=self.clock)
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

    def sealed(self, data: bytes) -> bytes:
        """What the other end says, on its way."""
        for at in range(0, len(data), 1 << 14):
            self.server.send(data[at : at + (1 << 14)])
        return self.server.bio_read(len(data) + 100_000)

    def received(self) -> bytes:
        """What came to the other end."""
        self.carry()
        found = b""
        with suppress(SSL.WantReadError, SSL.ZeroReturnError):
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


def spoilt(line: Line) -> bytes:
    """A record that nobody can open."""
    return line.sealed(b"spoilt")[:-1] + b"?"


def goodbye(line: Line) -> bytes:
    """The end that both agree on."""
    line.server.shutdown()
    return line.server.bio_read(100)


@pytest.mark.parametrize(
    ("end", "reason"), [(spoilt, SSL.Error), (goodbye, ConnectionDone)], ids=["spoilt", "goodbye"]
)
def test_what_came_before_the_end_is_heard_before_it(
    end: Callable[[Line], bytes], reason: type[Exception]
) -> None:
    """All in one piece from below."""
    line = connected()
    line.below.at_goodbye = lambda: line.above.heard.append(b"closing")
    line.tls.dataReceived(line.sealed(b"before ") + line.sealed(b"it") + end(line))
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert list(dict.fromkeys(line.above.heard)) == [b"before it", b"closing", reason]


def test_what_came_before_a_goodbye_is_still_answered() -> None:
    line = connected()
    line.above.at_each = lambda: line.tls.write(memoryview(b"the answer"))
    line.tls.dataReceived(line.sealed(b"a question") + goodbye(line))
    assert line.received() == b"the answer"


def test_who_has_given_up_hears_no_more() -> None:
    """Neither what was opened with it, nor the rest of what came."""
    line = connected()
    line.above.at_each = line.tls.abortConnection
    sealed = line.sealed(bytes(3 * OPENED_AT_ONCE))
    line.tls.dataReceived(sealed)
    (piece,) = line.above.heard
    assert isinstance(piece, bytes)
    assert len(piece) <= OPENED_AT_ONCE
    line.tls.dataReceived(line.sealed(b"more"))
    assert line.above.heard == [piece]
