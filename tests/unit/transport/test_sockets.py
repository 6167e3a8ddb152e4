"""What the kernel is asked for: really set on TCP, and left out elsewhere."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from obnam.transport.sockets import UNSENT_BYTES, keep_little_unsent, notice_lost_peer


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(listening.getsockname()))
        yield near, stack.enter_context(listening.accept()[0])


def accepted_bytes(writer: socket.socket) -> int:
    """How much the kernel takes while nobody reads."""
    writer.setblocking(False)
    taken, piece = 0, bytes(64 * 1024)
    try:
        while True:
            taken += writer.send(piece)
    except BlockingIOError:
        return taken


def test_little_is_kept_unsent(connected: tuple[socket.socket, socket.socket]) -> None:
    near, far = connected
    # What the receiver has room for is sent, and not the sender's any more.
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * UNSENT_BYTES)
    keep_little_unsent(near)
    assert accepted_bytes(near) < 2 * UNSENT_BYTES


def test_a_lost_peer_is_noticed(connected: tuple[socket.socket, socket.socket]) -> None:
    near, _ = connected
    notice_lost_peer(near, 60)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    asked_s = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert asked_s < 60


def test_a_unix_socket_has_none_of_it() -> None:
    near, far = socket.socketpair()
    with near, far:
        keep_little_unsent(near)
        notice_lost_peer(near, 60)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
