# mypy: disable-error-code="no-untyped-call"
"""Bodies that TLS opens where they are to lie: the same as by the long way, right or wrong."""

from hashlib import sha256
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web._newclient import Request as ClientRequest
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers

from obnam.model.ids import ChunkId
from obnam.repository import shortcut
from obnam.repository.bodies import BodyProtocol, FramesInto, TooLong
from obnam.wire.frames import BadFrame, pack_header
from tests.support.tls_line import Line, connected, cut

A, B = (ChunkId(b"\x01" + sha256(name).digest()) for name in (b"a", b"b"))


def frame(chunk_id: ChunkId, sealed: bytes) -> bytes:
    return pack_header(chunk_id, len(sealed)) + sealed


HttpLine = Line[HTTP11ClientProtocol]


def new_line() -> HttpLine:
    """A client's connection over TLS, and the server's end of it."""
    return connected(HTTP11ClientProtocol())


def ask(line: HttpLine, length: int) -> Any:
    """Ask, and get the head of an answer with a body of ``length`` bytes: the response."""
    request = ClientRequest(b"GET", b"/", Headers({b"host": [b"h"]}), None, persistent=True)
    asked: Deferred[Any] = line.above.request(request)
    receive(line, line.sealed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length))
    found: list[Any] = []
    asked.addCallback(found.append)
    (response,) = found
    return response


def receive(line: HttpLine, sealed: bytes) -> None:
    """Records come in."""
    if sealed:
        line.tls.dataReceived(sealed)


@define
class Fetch:
    """One answer of frames on its way into ``memory``. ``placed``: by the short way, bytes."""

    line: HttpLine
    length: int
    memory: bytearray = field(factory=lambda: bytearray(b"." * 300_000))
    heard: int = 0
    placed: int = 0
    frames: FramesInto = field(init=False)
    protocol: BodyProtocol = field(init=False)
    ended: list[object] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.frames = FramesInto([A, B], memoryview(self.memory))
        response = ask(self.line, self.length)
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


@given(
    st.integers(0, 70_000),
    st.integers(0, 70_000),
    st.lists(st.integers(1, 40_000), max_size=5),
    st.lists(st.integers(1, 40_000), max_size=5),
)
def test_however_it_is_cut(one: int, two: int, records: list[int], pieces: list[int]) -> None:
    body = frame(A, b"a" * one) + frame(B, b"b" * two)
    line = new_line()
    for _ in range(2):  # The connection is good for the next answer.
        fetch = Fetch(line, len(body))
        sealed = b"".join(line.sealed(each) for each in cut(body, records))
        for piece in cut(sealed, pieces):
            receive(line, piece)
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
    line = new_line()
    fetch = Fetch(line, len(body))
    for piece in cut(line.sealed(body), [500] * 10):
        receive(line, piece)
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, BadFrame | TooLong)
    assert (fetch.placed > 0) is known


def test_memory_is_left_alone_after_a_failure() -> None:
    line = new_line()
    fetch = Fetch(line, 100_000)
    receive(line, line.sealed(frame(B, b"b" * 1000)))
    fetch.memory[:] = b"." * len(fetch.memory)
    receive(line, line.sealed(b"late" * 1000))
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, BadFrame)
    assert set(fetch.memory) == set(b".")


def test_memory_is_left_alone_when_cancelled() -> None:
    line = new_line()
    fetch = Fetch(line, 100_000)
    receive(line, line.sealed(frame(A, b"a" * 1000)))
    assert fetch.placed == 1037
    fetch.protocol.done.cancel()
    fetch.memory[:] = b"." * len(fetch.memory)
    receive(line, line.sealed(b"late" * 1000))
    assert set(fetch.memory) == set(b".")
    assert fetch.failure is not None


def test_a_connection_cut_short() -> None:
    line = new_line()
    fetch = Fetch(line, 2074)
    receive(line, line.sealed(frame(A, b"a" * 1000) + frame(B, b"b" * 1000)[:-1])[:-1])
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, ResponseFailed)


def test_a_record_that_was_changed() -> None:
    """What came before it is there, and nothing of it and of what came after it."""
    line = new_line()
    fetch = Fetch(line, 2074)
    good, bad = line.sealed(frame(A, b"a" * 1000)), bytearray(line.sealed(b"b" * 1000))
    bad[100] ^= 1
    receive(line, good + bytes(bad) + line.sealed(b"c"))
    assert fetch.placed == 1037
    assert set(fetch.memory[1037:]) == set(b".")
    line.tls.connectionLost(Failure(ConnectionDone()))
    assert isinstance(fetch.failure, ResponseFailed)


def test_where_it_is_not_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that counts otherwise is left to its own."""
    body = frame(A, b"a" * 1000) + frame(B, b"b" * 1000)
    line = new_line()
    fetch = Fetch(line, len(body))
    monkeypatch.setattr(fetch.protocol, "_left", len(body) + 1)
    receive(line, line.sealed(body))
    assert fetch.placed == 0
    assert fetch.failure is None
    assert fetch.memory.startswith(body)
