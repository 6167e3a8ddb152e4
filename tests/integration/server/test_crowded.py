"""A real server to which very many connect and say nothing."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.base import ReactorBase

from obnam_server.sharing.crowd import STRANGERS_PER_SOURCE_MAX
from tests.support.clients import client_of, enrolled
from tests.support.raw_connection import plain
from tests.support.server_process import ServerProcess

IDLE = STRANGERS_PER_SOURCE_MAX + 100


@pytest.fixture
def idle(server: ServerProcess) -> Iterator[list[socket.socket]]:
    """Connections on which nothing is ever said, not even the first word of TLS."""
    with ExitStack() as stack:
        yield [stack.enter_context(plain(server)) for _ in range(IDLE)]


@pytest_twisted.ensureDeferred
async def test_others_get_through(server: ServerProcess, idle: list[socket.socket]) -> None:
    from twisted.internet import reactor as global_reactor

    reactor = cast(ReactorBase, global_reactor)
    _, _, token = await enrolled(reactor, server.invite("laptop"))
    async with client_of(reactor, server, token) as client:
        for _ in range(3):
            await client.describe()
    # The oldest had to go for the others.
    with pytest.raises(ConnectionResetError):
        idle[0].recv(1)
    idle[-1].setblocking(False)
    with pytest.raises(BlockingIOError):
        idle[-1].recv(1)


def test_files_enough_for_all_of_them(server: ServerProcess) -> None:
    """Whatever the few that the system allows at first."""
    limits = Path(f"/proc/{server.pid}/limits").read_text().splitlines()
    (line,) = [line for line in limits if line.startswith("Max open files")]
    soft, hard = line.split()[3:5]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == str(most)
    assert int(soft) == min(65_536, most)
