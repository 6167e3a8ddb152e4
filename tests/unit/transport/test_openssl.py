"""Records in and out of OpenSSL: both rooms do the same, and tell the same errors."""

import gc
import os
from collections.abc import Callable
from contextlib import suppress

import pytest
from OpenSSL import SSL

from obnam.transport import openssl
from obnam.transport.openssl import (
    RECORD_BYTES,
    DirectRoom,
    PublicRoom,
    Room,
    allow_large_writes,
    given,
    open_into,
)
from tests.support.tls_line import SERVER

ROOM_BYTES = 256 * 1024

MakeRoom = Callable[[int], PublicRoom]
both = pytest.mark.parametrize("make_room", [PublicRoom, DirectRoom])


class Pair:
    """Two ends of a TLS connection, and nothing between them but these methods."""

    def __init__(self, room: PublicRoom) -> None:
        self.room = room
        self.server = SSL.Connection(SERVER, None)
        self.client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.server.set_accept_state()
        self.client.set_connect_state()
        for _ in range(3):
            for end, other in ((self.client, self.server), (self.server, self.client)):
                with suppress(SSL.WantReadError):
                    end.do_handshake()
                self.carry(end, other)

    def sealed(self, end: SSL.Connection) -> bytes:
        """All that ``end`` wants to have sent."""
        found = b""
        while size := self.room.take_sealed(end):
            found += self.room.first(size)
        return found

    def carry(self, end: SSL.Connection, other: SSL.Connection) -> None:
        """Take it to the ``other`` end."""
        if sealed := self.sealed(end):
            other.bio_write(sealed)

    def opened(self, end: SSL.Connection) -> bytes:
        """All whole records that came to ``end``."""
        found = b""
        try:
            while True:
                size = self.room.open_record(end, 100)
                found += self.room.first(100 + size)[100:]
        except SSL.WantReadError:
            return found


@both
def test_what_was_written_comes_out(make_room: MakeRoom) -> None:
    pair = Pair(make_room(ROOM_BYTES))
    data = os.urandom(3 * ROOM_BYTES + 1)
    allow_large_writes(pair.client)
    sent = 0
    while sent < len(data):
        sent += pair.client.send(data[sent:])
    pair.carry(pair.client, pair.server)
    assert pair.opened(pair.server) == data


@both
def test_a_part_of_a_record_is_waited_for(make_room: MakeRoom) -> None:
    pair = Pair(make_room(ROOM_BYTES))
    pair.client.send(b"hello")
    sealed = pair.sealed(pair.client)
    pair.server.bio_write(sealed[:-1])
    assert pair.opened(pair.server) == b""
    pair.server.bio_write(sealed[-1:])
    assert pair.opened(pair.server) == b"hello"


@both
def test_the_end_is_told(make_room: MakeRoom) -> None:
    pair = Pair(make_room(ROOM_BYTES))
    pair.client.shutdown()
    pair.carry(pair.client, pair.server)
    with pytest.raises(SSL.ZeroReturnError):
        pair.room.open_record(pair.server, 0)


@both
def test_a_record_that_was_changed_is_refused(make_room: MakeRoom) -> None:
    pair = Pair(make_room(ROOM_BYTES))
    pair.client.send(b"hello")
    sealed = bytearray(pair.sealed(pair.client))
    sealed[-1] ^= 1
    pair.server.bio_write(bytes(sealed))
    with pytest.raises(SSL.Error, match="bad record mac"):
        pair.room.open_record(pair.server, 0)


def test_nothing_is_written_beyond_the_room() -> None:
    pair = Pair(DirectRoom(ROOM_BYTES))
    with pytest.raises(ValueError, match="no room"):
        pair.room.open_record(pair.server, ROOM_BYTES - RECORD_BYTES + 1)


def test_the_direct_one_is_used_and_takes_large_writes_whole() -> None:
    assert Room is DirectRoom
    pair = Pair(Room(ROOM_BYTES))
    allow_large_writes(pair.client)
    assert pair.client.send(bytes(ROOM_BYTES)) == ROOM_BYTES


# What comes in, from where it lies

ways = pytest.mark.parametrize("known", [True, False], ids=["lent", "copied"])


@ways
@both
@pytest.mark.parametrize("piece_bytes", [1000, 16 * 1024, 256 * 1024])
def test_pieces_of_any_size(
    make_room: MakeRoom, known: bool, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssl, "_known", known)
    pair = Pair(make_room(ROOM_BYTES))
    data = os.urandom(ROOM_BYTES + 1)
    sent, opened, sealed = 0, b"", b""
    while sent < len(data):
        sent += pair.client.send(data[sent:])
        sealed += pair.sealed(pair.client)
    for at in range(0, len(sealed), piece_bytes):
        with given(pair.server, sealed[at : at + piece_bytes]):
            opened += pair.opened(pair.server)
    assert opened == data


@ways
def test_what_is_left_is_kept(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "_known", known)
    pair = Pair(Room(ROOM_BYTES))
    records = []
    for word in (b"one ", b"two ", b"three ", b"four"):
        pair.client.send(word)
        records.append(pair.sealed(pair.client))
    with given(pair.server, records[0] + records[1]):
        size = pair.room.open_record(pair.server, 0)
        assert pair.room.first(size) == b"one "
    with pytest.raises(RuntimeError), given(pair.server, records[2]):
        raise RuntimeError
    pair.server.bio_write(records[3])
    assert pair.opened(pair.server) == b"two three four"


@ways
def test_the_end_of_the_connection_is_told(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "_known", known)
    pair = Pair(Room(ROOM_BYTES))
    pair.client.send(b"hello")
    with given(pair.server, pair.sealed(pair.client)):
        assert pair.opened(pair.server) == b"hello"
    pair.server.bio_shutdown()
    with pytest.raises(SSL.Error, match=r"(?i)unexpected eof"):
        pair.room.open_record(pair.server, 0)


def test_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(Room(ROOM_BYTES))
    pair.client.send(b"hello")
    sealed = pair.sealed(pair.client)
    monkeypatch.delattr(SSL.Connection, "bio_write")
    with given(pair.server, sealed):
        assert pair.opened(pair.server) == b"hello"


# Into memory of others


@ways
def test_memory_is_filled_to_its_end(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl, "_known", known)
    pair = Pair(Room(ROOM_BYTES))
    pair.client.send(b"0123")
    pair.client.send(b"456789")
    pair.carry(pair.client, pair.server)
    memory, filled = bytearray(b"." * 10), list[int]()
    open_into(pair.server, memoryview(memory)[2:8], filled.append)
    assert (bytes(memory), filled) == (b"..012345..", [6])
    with pytest.raises(SSL.WantReadError):
        open_into(pair.server, memoryview(memory)[1:], filled.append)
    assert (bytes(memory), filled) == (b".6789345..", [6, 4])
    with pytest.raises(SSL.WantReadError):
        open_into(pair.server, memoryview(memory), filled.append)
    assert filled == [6, 4]


@ways
def test_what_came_before_a_changed_record_is_told(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssl, "_known", known)
    pair = Pair(Room(ROOM_BYTES))
    pair.client.send(b"good")
    pair.carry(pair.client, pair.server)
    pair.client.send(b"bad")
    sealed = bytearray(pair.sealed(pair.client))
    sealed[-1] ^= 1
    pair.server.bio_write(bytes(sealed))
    memory, filled = bytearray(b"." * 10), list[int]()
    with pytest.raises(SSL.Error, match="bad record mac"):
        open_into(pair.server, memoryview(memory), filled.append)
    assert (bytes(memory), filled) == (b"good......", [4])


@ways
def test_garbage_with_memory_in_it(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure keeps what its methods had in their hands, and is often part of a circle."""
    monkeypatch.setattr(openssl, "_known", known)
    pair = Pair(Room(ROOM_BYTES))
    memory = bytearray(10)
    for _ in range(10):
        view = memoryview(memory)[:5]  # Older than the rest: it is cleared first.
        circle: list[object] = []
        try:
            open_into(pair.server, view, circle.append)
        except SSL.WantReadError as error:
            circle += [circle, error]
        del view, circle
        gc.collect()
    memory.clear()  # Nothing refers to it any more.
