# mypy: disable-error-code="no-untyped-call"
"""Bodies that TLS opens where they are to lie: the same as by the long way, right or wrong."""

from contextlib import suppress
from hashlib import sha256
from typing import Any, cast

import pytest
import trustme
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web._newclient import Request as ClientRequest
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from zope.interface import implementer

from obnam.model.ids import ChunkId
from obnam.repository import shortcut
from obnam.repository.bodies import BodyProtocol, FramesInto, TooLong
from obnam.transport.bulk_tls import BulkTlsFactory, BulkTlsTransport
from obnam.wire.frames import BadFrame, pack_header

A, B = (ChunkId(b"\x01" + sha256(name).digest()) for name in (b"a", b"b"))
SERVER = SSL.Context(SSL.TLS_SERVER_METHOD)
trustme.CA().issue_cert("localhost").configure_cert(SERVER)


def frame(chunk_id: ChunkId, sealed: bytes) -> bytes:
    return pack_header(chunk_id, len(sealed)) + sealed


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
    """A client's connection over TLS, and the server's end of it, with nothing between them."""

    server: SSL.Connection = field(init=False)
    http: Any = field(init=False)
    tls: BulkTlsTransport = field(init=False)
    below: Below = field(factory=Below)

    def __attrs_post_init__(self) -> None:
        self.server = SSL.Connection(SERVER, None)
        self.server.set_accept_state()
        self.http = HTTP11ClientProtocol()
        factory = BulkTlsFactory(
            Creator(), True, Factory.forProtocol(lambda: self.http), clock=Clock()
        )
        self.tls = cast(BulkTlsTransport, factory.buildProtocol(None))
        self.tls.makeConnection(self.below)
        for _ in range(3):
            if self.below.value():
                self.server.bio_write(self.below.value())
                self.below.clear()
            with suppress(SSL.WantReadError):
                self.server.do_handshake()
            with suppress(SSL.WantReadError):
                self.tls.dataReceived(self.server.bio_read(100_000))

    def ask(self, length: int) -> Any:
        """Ask, and get the head of an answer with a body of ``length`` bytes: the response."""
        request = ClientRequest(b"GET", b"/", Headers({b"host": [b"h"]}), None, persistent=True)
        asked: Deferred[Any] = self.http.request(request)
        self.receive(self.sealed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length))
        found: list[Any] = []
        asked.addCallback(found.append)
        (response,) = found
        return response

    def sealed(self, data: bytes) -> bytes:
        """Records of the server's with ``data``."""
        left = data
        while left:
            left = left[self.server.send(left) :]
        return self.server.bio_read(1_000_000) if data else b""

    def receive(self, sealed: bytes) -> None:
        """They come in."""
        if sealed:
            self.tls.dataReceived(sealed)


@define
class Fetch:
    """One answer of frames on its way into ``memory``. ``placed``: by the short way, bytes."""

    line: Line
    length: int
    memory: bytearray = field(factory=lambda: bytearray(b"." * 300_000))
    heard: int = 0
    placed: int = 0
    frames: FramesInto = field(init=False)
    protocol: BodyProtocol = field(init=False)
    ended: list[object] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.frames = FramesInto([A, B], memoryview(self.memory))
        response = self.line.ask(self.length)
        self.protocol = BodyProtocol(self.frames, self.was_heard, response.length)
        self.protocol.done.addBoth(self.ended.append)
        response.deliverBody(self.protocol)
        if self.line.tls.place is not None:
            place: Any = self.line.tls.place
            self.line.tls.place = self.watched(place)

    def was_heard(self, size_bytes: int) -> None:
        self.heard += 1

    def watched(self, place: Any) -> Any:
        fetch = self

        class Watched:
            room = place.room

            def filled(self, size_bytes: int) -> None:
                fetch.placed += size_bytes
                place.filled(size_bytes)

        return Watched()

    @property
    def failure(self) -> BaseException | None:
        """What it ended with."""
        (ended,) = self.ended
        return ended.value if isinstance(ended, Failure) else None


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(
    st.integers(0, 70_000),
    st.integers(0, 70_000),
    st.lists(st.integers(1, 40_000), max_size=5),
    st.lists(st.integers(1, 40_000), max_size=5),
)
def test_however_it_is_cut(one: int, two: int, records: list[int], pieces: list[int]) -> None:
    body = frame(A, b"a" * one) + frame(B, b"b" * two)
    line = Line()
    for _ in range(2):  # The connection is good for the next answer.
        fetch = Fetch(line, len(body))
        sealed = b"".join(line.sealed(each) for each in cut(body, records))
        for piece in cut(sealed, pieces):
            line.receive(piece)
        assert fetch.failure is None
        assert fetch.memory == body + b"." * (len(fetch.memory) - len(body))
        assert [(f.chunk_id, f.length) for f in fetch.frames.frames] == [(A, one), (B, two)]
        assert fetch.placed == len(body) - 1
        assert fetch.heard > 0
        assert not line.below.disconnecting


WRONG = {
    "swapped": frame(B, b"b" * 1000) + frame(A, b"a" * 1000),
    "less": frame(A, b"a" * 1000),
    "more": frame(A, b"a" * 1000) + frame(B, b"b" * 1000) + frame(B, b"b" * 1000),
    "junk": frame(A, b"a" * 1000) + frame(B, b"b" * 1000) + b"!",
    "truncated": (frame(A, b"a" * 1000) + frame(B, b"b" * 1000))[:-1],
    "large": pack_header(A, 1 << 31) + b"a" * 1000,
    "no-room": frame(A, b"a" * 200_000) + frame(B, b"b" * 200_000),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("known", [True, False], ids=["short", "long"])
def test_wrong_bodies(body: bytes, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not known:
        monkeypatch.setattr(shortcut, "BulkTransport", StringTransport)
    line = Line()
    fetch = Fetch(line, len(body))
    for piece in cut(line.sealed(body), [500] * 10):
        line.receive(piece)
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, BadFrame | TooLong)
    assert (fetch.placed > 0) is known


def test_memory_is_left_alone_after_a_failure() -> None:
    line = Line()
    fetch = Fetch(line, 100_000)
    line.receive(line.sealed(frame(B, b"b" * 1000)))
    fetch.memory[:] = b"." * len(fetch.memory)
    line.receive(line.sealed(b"late" * 1000))
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, BadFrame)
    assert set(fetch.memory) == set(b".")


def test_memory_is_left_alone_when_cancelled() -> None:
    line = Line()
    fetch = Fetch(line, 100_000)
    line.receive(line.sealed(frame(A, b"a" * 1000)))
    assert fetch.placed == 1037
    fetch.protocol.done.cancel()
    fetch.memory[:] = b"." * len(fetch.memory)
    line.receive(line.sealed(b"late" * 1000))
    assert set(fetch.memory) == set(b".")
    assert fetch.failure is not None


def test_a_connection_cut_short() -> None:
    line = Line()
    fetch = Fetch(line, 2074)
    line.receive(line.sealed(frame(A, b"a" * 1000) + frame(B, b"b" * 1000)[:-1])[:-1])
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, ResponseFailed)


def test_a_record_that_was_changed() -> None:
    """What came before it is there, and nothing of it and of what came after it."""
    line = Line()
    fetch = Fetch(line, 2074)
    good, bad = line.sealed(frame(A, b"a" * 1000)), bytearray(line.sealed(b"b" * 1000))
    bad[100] ^= 1
    line.receive(good + bytes(bad) + line.sealed(b"c"))
    assert fetch.placed == 1037
    assert set(fetch.memory[1037:]) == set(b".")
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, ResponseFailed)


def test_where_it_is_not_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that counts otherwise is left to its own."""
    body = frame(A, b"a" * 1000) + frame(B, b"b" * 1000)
    line = Line()
    fetch = Fetch(line, len(body))
    monkeypatch.setattr(fetch.protocol, "_left", len(body) + 1)
    line.receive(line.sealed(body))
    assert fetch.placed == 0
    assert fetch.failure is None
    assert fetch.memory.startswith(body)
