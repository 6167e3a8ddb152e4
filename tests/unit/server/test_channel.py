"""What the server makes of the connections themselves."""

import socket
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactorClock

from obnam.transport.sockets import UNSENT_BYTES
from tests.support.server_in_memory import ServerInMemory


def test_the_kernel_keeps_little_of_an_answer(server: ServerInMemory) -> None:
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(listening.getsockname()))
        near = stack.enter_context(listening.accept()[0])
        peer = near.getpeername()
        channel: Any = cast(Any, server.site).buildProtocol(IPv4Address("TCP", *peer))
        port = cast(Any, SimpleNamespace(_realPortNumber=1))
        reactor = cast(Any, MemoryReactorClock)()
        channel.makeConnection(Server(near, channel, peer, port, 0, reactor))
        kept = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        channel.connectionLost(connectionDone)
    assert kept == UNSENT_BYTES
