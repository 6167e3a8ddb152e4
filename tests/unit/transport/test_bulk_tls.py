# mypy: disable-error-code="no-untyped-call"
"""TLS in large steps: what is lent is sealed at once and not kept; what came is heard in order."""

from collections.abc import Callable

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from obnam.transport.bulk_tls import OPENED_AT_ONCE
from tests.support.tls_line import Line, connected

LARGE = bytes(range(256)) * 1024


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


def test_what_is_lent_is_free_once_it_is_written() -> None:
    line = connected(Hearing())
    lent = bytearray(LARGE)
    line.tls.write(memoryview(lent))
    lent[:] = bytes(len(lent))
    lent.clear()  # Nothing refers to it.
    assert line.received() == LARGE


def test_it_goes_behind_what_was_gathered() -> None:
    line = connected(Hearing())
    line.tls.write(b"head ")
    line.tls.write(memoryview(b"lent "))
    line.tls.write(b"tail")
    assert line.received() == b"head lent tail"


def test_before_the_handshake_it_is_copied() -> None:
    line = Line(Hearing())
    lent = bytearray(LARGE)
    line.tls.write(b"head ")
    line.tls.write(memoryview(lent))
    lent.clear()
    line.shake_hands()
    assert line.received() == b"head " + LARGE


def test_a_connection_that_fails_keeps_nothing() -> None:
    line = connected(Hearing())
    lent = bytearray(LARGE)
    line.tls._tlsConnection.shutdown()  # OpenSSL takes no more.
    with memoryview(lent) as view:
        line.tls.write(view)
    lent.clear()
    assert line.below.disconnecting


def test_a_connection_that_is_closed_keeps_nothing() -> None:
    line = connected(Hearing())
    line.tls.loseConnection()
    lent = bytearray(LARGE)
    line.tls.write(memoryview(lent))
    lent.clear()
    assert not line.below.value() or len(line.below.value()) < 100  # Only the goodbye.


def spoilt(line: Line[Hearing]) -> bytes:
    """A record that nobody can open."""
    return line.sealed(b"spoilt")[:-1] + b"?"


def goodbye(line: Line[Hearing]) -> bytes:
    """The end that both agree on."""
    line.server.shutdown()
    return line.server.bio_read(100)


@pytest.mark.parametrize(
    ("end", "reason"), [(spoilt, SSL.Error), (goodbye, ConnectionDone)], ids=["spoilt", "goodbye"]
)
def test_what_came_before_the_end_is_heard_before_it(
    end: Callable[[Line[Hearing]], bytes], reason: type[Exception]
) -> None:
    """All in one piece from below."""
    line = connected(Hearing())
    line.below.at_goodbye = lambda: line.above.heard.append(b"closing")
    line.tls.dataReceived(line.sealed(b"before ") + line.sealed(b"it") + end(line))
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert list(dict.fromkeys(line.above.heard)) == [b"before it", b"closing", reason]


def test_what_came_before_a_goodbye_is_still_answered() -> None:
    line = connected(Hearing())
    line.above.at_each = lambda: line.tls.write(memoryview(b"the answer"))
    line.tls.dataReceived(line.sealed(b"a question") + goodbye(line))
    assert line.received() == b"the answer"


def test_who_has_given_up_hears_no_more() -> None:
    """Neither what was opened with it, nor the rest of what came."""
    line = connected(Hearing())
    line.above.at_each = line.tls.abortConnection
    sealed = line.sealed(bytes(3 * OPENED_AT_ONCE))
    line.tls.dataReceived(sealed)
    (piece,) = line.above.heard
    assert isinstance(piece, bytes)
    assert len(piece) <= OPENED_AT_ONCE
    line.tls.dataReceived(line.sealed(b"more"))
    assert line.above.heard == [piece]
