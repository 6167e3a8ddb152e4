"""What is asked of a connection's socket."""

import socket
from contextlib import ExitStack
from typing import Any, cast

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock

from obnam.repository.connect import Connections
from obnam.transport.sockets import UNSENT_BYTES


def test_the_kernel_watches_the_server_and_keeps_little_unsent() -> None:
    reactor = cast(Any, MemoryReactorClock)()
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(listening.getsockname()))
        protocol = Protocol()
        protocol.transport = Connection(near, protocol, reactor)
        Connections.none_yet(reactor).add(protocol)
        options = (socket.TCP_NOTSENT_LOWAT, socket.TCP_USER_TIMEOUT)
        asked = [near.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    assert asked == [UNSENT_BYTES, 60_000]
