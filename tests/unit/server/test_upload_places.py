# mypy: disable-error-code="no-untyped-call"
"""Uploads over TLS that are opened where the writing thread finds them: the same as by feeding."""

from contextlib import suppress
from typing import Any, cast

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from obnam.model.ids import SessionId
from obnam.transport.bulk_tls import BulkTlsFactory, BulkTlsTransport
from obnam.wire.frames import pack_header
from obnam_server.uploads import UploadPlace
from obnam_server.waiting import Waiting
from tests.support.raw_backup import begin, chunk_id
from tests.support.server_in_memory import ServerInMemory, Wire, server_in_memory
from tests.support.tls_line import SERVER, Below, cut, records


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    """The server's end."""

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803
        return SSL.Connection(SERVER, None)


@define
class TlsLine:
    """A connection over TLS to a server in memory, with nothing between the two ends."""

    server: ServerInMemory
    token: str
    client: SSL.Connection = field(init=False)
    tls: BulkTlsTransport = field(init=False)
    below: Any = field(init=False)
    session: SessionId = field(init=False)
    answers: Wire = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.session = begin(self.server.connect(), self.token)
        peer = IPv4Address("TCP", "192.0.2.1", 1)
        self.below = cast(Any, Below)(peerAddress=peer)
        factory = BulkTlsFactory(Creator(), False, cast(Any, self.server.site), self.server.clock)
        self.tls = cast(BulkTlsTransport, factory.buildProtocol(peer))
        self.client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.client.set_connect_state()
        self.tls.makeConnection(self.below)
        for _ in range(3):
            with suppress(SSL.WantReadError):
                self.client.do_handshake()
            with suppress(SSL.WantReadError):
                self.tls.dataReceived(self.client.bio_read(100_000))
            self.answered()
        channel: Any = self.tls.wrappedProtocol
        self.answers = Wire(channel, cast(Any, StringTransport)(peerAddress=peer), self.server)
        self.server.wires.append(self.answers)

    def head(self, length: int) -> bytes:
        """The head of an upload of so many bytes."""
        return self.answers.head(
            *("POST", "/v1/chunks"),
            token=self.token,
            session=self.session,
            Content_Length=str(length),
        )

    def sealed(self, data: bytes) -> bytes:
        """Records with ``data``."""
        return records(self.client, data)

    def receive(self, sealed: bytes) -> None:
        """They come in at the server."""
        if sealed:
            self.tls.dataReceived(sealed)

    def answered(self) -> bytes:
        """What the server says."""
        if self.below.value():
            self.client.bio_write(self.below.value())
            self.below.clear()
        found = b""
        with suppress(SSL.WantReadError, SSL.ZeroReturnError):
            while True:
                found += self.client.recv(100_000)
        return found

    def status(self) -> int:
        """That of the only one."""
        (status,) = self.statuses()
        return status

    def statuses(self) -> list[int]:
        """Those of all answers that come, without anything else being sent."""
        self.server.work.do_all()
        self.server.clock.advance(0)  # Small writes are gathered.
        return [int(head.split()[0]) for head in self.answered().split(b"HTTP/1.1 ")[1:]]

    def stored(self, number: int) -> bytes:
        """A chunk, as the server has it now."""
        path = f"/v1/chunks/{chunk_id(number).hex()}"
        return self.server.connect().request("GET", path, token=self.token).body


@pytest.fixture
def line(server: ServerInMemory) -> TlsLine:
    return TlsLine(server, server.token("laptop"))


def content(number: int, length: int) -> bytes:
    return (b"%d " % number * (length // 2 + 1))[:length]


def body_of(sizes: dict[int, int]) -> bytes:
    return b"".join(
        pack_header(chunk_id(number), size) + content(number, size)
        for number, size in sizes.items()
    )


_numbers = iter(range(10**6))


@given(
    st.lists(st.integers(1, 1_500_000), min_size=1, max_size=3),
    st.lists(st.integers(1, 100_000), max_size=5),
    st.lists(st.integers(1, 100_000), max_size=5),
    st.lists(st.booleans(), min_size=1, max_size=6),
)
@settings(max_examples=30)
def test_however_it_is_cut(
    sizes: list[int],
    records: list[int],
    pieces: list[int],
    works: list[bool],
) -> None:
    with server_in_memory() as server:
        line = TlsLine(server, server.token("laptop"))
        for _ in range(2):  # The connection is good for the next upload, which waits behind this.
            chunks = {next(_numbers): size for size in sizes}
            whole = body_of(chunks)
            line.receive(line.sealed(line.head(len(whole))))
            server.work.do_all()
            sealed = b"".join(line.sealed(each) for each in cut(whole, records))
            for number, piece in enumerate(cut(sealed, pieces)):
                line.receive(piece)
                if works[number % len(works)]:
                    server.work.do_all()
            assert line.status() == 204
            for number, size in chunks.items():
                assert line.stored(number) == content(number, size)


def test_the_short_way_is_taken_up_to_the_last_byte(
    line: TlsLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = body_of({1: 3_000_000})
    filled: list[int] = []
    original = UploadPlace.filled

    def watched(place: UploadPlace, size_bytes: int) -> None:
        filled.append(size_bytes)
        original(place, size_bytes)

    monkeypatch.setattr(UploadPlace, "filled", watched)
    line.receive(line.sealed(line.head(len(whole))))
    line.server.work.do_all()
    for piece in cut(line.sealed(whole), [500_000] * 5):
        line.receive(piece)
    assert sum(filled) == len(whole) - 1
    assert line.status() == 204
    assert line.tls.place is None
    assert line.stored(1) == content(1, 3_000_000)


def test_two_uploads_in_one_piece(line: TlsLine) -> None:
    """What comes behind the last byte of a body is the next request, and no part of the body."""
    one, two = body_of({1: 100_000}), body_of({2: 100_000})
    line.receive(line.sealed(line.head(len(one))))
    line.server.work.do_all()
    line.receive(line.sealed(one + line.head(len(two)) + two))
    assert line.statuses() == [204, 204]
    assert line.stored(1) == content(1, 100_000)
    assert line.stored(2) == content(2, 100_000)


def test_a_slow_disk_pauses_the_client(line: TlsLine) -> None:
    whole = body_of(dict.fromkeys(range(8), 1 << 20))
    line.receive(line.sealed(line.head(len(whole))))
    line.server.work.do_all()
    assert line.below.producerState == "producing"
    pieces = cut(line.sealed(whole), [1 << 20] * 5)
    for piece in pieces[:4]:
        line.receive(piece)
    assert line.below.producerState == "paused"
    line.server.work.do_all()
    assert line.below.producerState == "producing"
    for piece in pieces[4:]:
        line.receive(piece)
    assert line.status() == 204
    for number in range(8):
        assert line.stored(number) == content(number, 1 << 20)


def test_frames_that_are_none_are_refused_on_the_way(line: TlsLine) -> None:
    whole = b"\xff" * (4 << 20)
    line.receive(line.sealed(line.head(len(whole))))
    line.server.work.do_all()
    pieces = cut(line.sealed(whole), [2 << 20])
    line.receive(pieces[0])
    assert line.status() == 400
    assert line.tls.place is None
    line.receive(pieces[1])
    assert line.tls.disconnecting


def test_a_client_gone_in_the_middle(line: TlsLine) -> None:
    whole = body_of({1: 4 << 20})
    line.receive(line.sealed(line.head(len(whole))))
    line.server.work.do_all()
    line.receive(line.sealed(whole)[: 2 << 20])
    upload = line.answers.channel.upload
    assert upload is not None
    line.answers.lose()
    line.server.work.do_all()
    assert upload._waiting == Waiting()


# The bytes that wait


def put(waiting: Waiting, data: bytes, most_bytes: int) -> None:
    while data:
        room = waiting.room(len(data), most_bytes)
        room[:] = data[: len(room)]
        waiting.filled(len(room))
        data = data[len(room) :]


def test_what_came_bit_by_bit_is_one_piece() -> None:
    """A piece has a size of its own: a million of a byte each must not be kept."""
    waiting = Waiting()
    for letter in b"0123456789":
        waiting.room(100, 100)[0] = letter
        waiting.filled(1)
    waiting.add(b"!")
    put(waiting, b"abc", 100)
    assert waiting.size_bytes == 14
    pieces, _ = waiting.take()
    assert [bytes(piece) for piece in pieces] == [b"0123456789", b"!", b"abc"]
    assert waiting.size_bytes == 0


def test_what_was_taken_is_left_alone_until_it_is_given_back() -> None:
    waiting = Waiting()
    put(waiting, b"one", 10)
    pieces, buffers = waiting.take()
    put(waiting, b"two", 10)
    assert [bytes(piece) for piece in pieces] == [b"one"]
    assert [bytes(piece) for piece in waiting.take()[0]] == [b"two"]
    waiting.give_back(buffers)
    put(waiting, b"six", 10)
    assert bytes(pieces[0]) == b"six"  # The same memory again.


def test_a_buffer_that_is_too_large_by_now_is_not_used_again() -> None:
    waiting = Waiting()
    put(waiting, bytes(10), 10)
    waiting.give_back(waiting.take()[1])
    assert len(waiting.room(10, 5)) == 5


def test_a_buffer_is_no_larger_than_what_may_come() -> None:
    assert len(Waiting().room(3, 10)) == 3
