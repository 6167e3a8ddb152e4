# mypy: disable-error-code="no-untyped-call"
"""Unix sockets past Twisted's buffers: in order, nothing kept, received where it belongs."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol

from obnam.transport.bulk_unix import LARGE_BYTES, _Server

LARGE = bytes(range(256)) * 16 * 1024
"""More than the kernel takes at once: 4 MiB."""


class Reactor:
    """Remembers what is waited for, and waits for nothing."""

    def __init__(self) -> None:
        self.readers: list[object] = []
        self.writers: list[object] = []
        self.addReader, self.removeReader = self.readers.append, self.readers.remove
        self.addWriter = self.writers.append

    def removeWriter(self, writer: object) -> None:  # noqa: N802
        if writer in self.writers:
            self.writers.remove(writer)


class Heard(Protocol):
    """What came by the long way."""

    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.data += data


@define
class Producer:
    """Counts what it is told."""

    paused: int = 0
    resumed: int = 0

    def pauseProducing(self) -> None:  # noqa: N802
        self.paused += 1

    def resumeProducing(self) -> None:  # noqa: N802
        self.resumed += 1

    def stopProducing(self) -> None:  # noqa: N802
        """The end."""


@define
class Line:
    """A connection, and the plain socket at its other end."""

    transport: Any = field(init=False)
    peer: socket.socket = field(init=False)
    reactor: Reactor = field(factory=Reactor)
    heard: Heard = field(factory=Heard)

    def __attrs_post_init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        reactor: Any = self.reactor
        factory: Any = Factory.forProtocol(lambda: self.heard)
        self.transport = _Server._fromConnectedSocket(ours.fileno(), factory, reactor)
        ours.close()

    def receive(self) -> bytes:
        """All that lies at the other end, while the transport sends what it has."""
        found = b""
        while True:
            try:
                found += self.peer.recv(1 << 20)
            except BlockingIOError:
                if not self.reactor.writers:
                    return found
                assert self.transport.doWrite() is None

    def close(self) -> None:
        self.peer.close()
        self.transport.socket.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@define
class Memory:
    """A place of some bytes."""

    bytes_: bytearray
    at: int = 0

    def room(self) -> memoryview | None:
        return memoryview(self.bytes_)[self.at :] or None

    def filled(self, size_bytes: int) -> None:
        self.at += size_bytes


def test_what_is_lent_is_free_once_it_is_written(line: Line) -> None:
    lent = bytearray(LARGE)
    line.transport.write(memoryview(lent))
    lent[:] = bytes(len(lent))
    lent.clear()  # Nothing refers to it.
    assert line.receive() == LARGE


def test_all_of_it_stays_in_order(line: Line) -> None:
    pieces = [b"head", LARGE, b"small", LARGE[:LARGE_BYTES], b"tail"]
    for number, piece in enumerate(pieces):
        line.transport.write(memoryview(piece) if number % 2 else piece)
    assert line.receive() == b"".join(pieces)


def test_a_small_piece_that_is_lent(line: Line) -> None:
    line.transport.write(memoryview(b"small"))
    assert line.receive() == b"small"


def test_whoever_makes_pieces_waits_for_the_rest_to_go(line: Line) -> None:
    producer = Producer()
    line.transport.registerProducer(producer, True)
    line.transport.write(memoryview(b"x" * LARGE_BYTES))
    assert producer == Producer()
    line.transport.write(memoryview(LARGE))
    assert producer == Producer(paused=1)
    line.transport.write(memoryview(LARGE))  # It did not listen.
    assert line.receive() == b"x" * LARGE_BYTES + LARGE + LARGE
    assert producer.resumed == 1


def test_nothing_is_sent_on_a_connection_that_is_lost(line: Line) -> None:
    line.peer.close()
    lent = bytearray(LARGE)
    line.transport.write(memoryview(lent))
    lent.clear()
    assert isinstance(line.transport.doWrite(), Exception)


def test_a_body_goes_where_it_belongs(line: Line) -> None:
    line.peer.send(b"head")
    assert line.transport.doRead() is None
    place = line.transport.place = Memory(bytearray(6))
    line.peer.send(b"body")
    assert line.transport.doRead() is None
    assert place.bytes_ == b"body\0\0"
    line.peer.send(b"! and more")
    assert line.transport.doRead() is None
    assert line.transport.doRead() is None
    assert place.bytes_ == b"body! "
    assert line.heard.data == b"headand more"


def test_nothing_there(line: Line) -> None:
    place = line.transport.place = Memory(bytearray(6))
    assert line.transport.doRead() is None
    assert place.at == 0


def test_the_end_within_a_body(line: Line) -> None:
    line.transport.place = Memory(bytearray(6))
    line.peer.close()
    assert line.transport.doRead() is CONNECTION_DONE


def test_descriptors_are_not_taken(line: Line) -> None:
    read_end, write_end = socket.socketpair()
    socket.send_fds(line.peer, [b"x"], [write_end.fileno()])
    write_end.close()
    assert line.transport.doRead() is None
    assert line.heard.data == b"x"
    read_end.setblocking(False)
    assert read_end.recv(1) == b""  # Nobody has the other end.
    read_end.close()
