"""Ten thousand connections that dribble, from many addresses, while a client backs up."""

import resource
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.base import ReactorBase
from twisted.internet.threads import deferToThread

from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, GenerationId
from obnam.repository.http import HttpRepository
from obnam.wire.frames import pack_header
from obnam.wire.messages import Commit
from obnam_server.sharing.crowd import CONNECTIONS_MAX
from tests.support.clients import client_of, enrolled
from tests.support.raw_connection import plain
from tests.support.server_process import ServerProcess

DRIBBLING = 10_000
ADDRESSES = [f"127.0.2.{n}" for n in range(1, 41)]
"""All of this computer's own: with one of them, the limit of an address would do."""

FEW_FILES = 500
"""Besides the connections, this process has fewer files open than these."""

HELLO = b"\x16\x03\x01\x00\xa5\x01"
"""The first bytes of a handshake; the next ones would take their time."""


@pytest.fixture(params=["", "workers: 2\n"], ids=["alone", "with workers"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """One whose connections are its own, or its workers'."""
    with ServerProcess(tmp_path / "server", more=request.param) as running:
        yield running


@pytest.fixture
def files_enough() -> Iterator[None]:
    """As many files as all these connections take, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DRIBBLING + FEW_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may have {hard} files open, and this takes {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def dribbling(files_enough: None) -> Iterator[list[socket.socket]]:
    """The connections, as soon as there are any."""
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


def connect(server: ServerProcess, opened: list[socket.socket]) -> None:
    """Open all of them. Each says a little, and no more."""
    for number in range(DRIBBLING):
        each = plain(server, (ADDRESSES[number % len(ADDRESSES)], 0))
        opened.append(each)
        each.sendall(HELLO[: 1 + number % len(HELLO)])


def still_open(connections: list[socket.socket]) -> int:
    """How many of them the server has not cut."""
    with selectors.DefaultSelector() as selector:
        for each in connections:
            each.setblocking(False)
            selector.register(each, selectors.EVENT_READ)
        return len(connections) - len(selector.select(0))


async def back_up(client: HttpRepository, number: int, previous: GenerationId | None) -> Commit:
    """A whole backup of one chunk."""
    chunk = ChunkId(b"\x01" + number.to_bytes(32, "big"))
    session = await client.begin_session(None)
    await client.store(session, memoryview(pack_header(chunk, 100) + bytes(100)))
    await client.refer(session, [chunk], [])
    made = Commit(
        GenerationId(f"{number:032x}"), previous, SetSum().add([chunk]), chunk, b"manifest"
    )
    await client.commit(session, made)
    return made


def memory_kb(server: ServerProcess) -> int:
    """The most that the server had in memory so far."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


@pytest_twisted.ensureDeferred
async def test_a_client_backs_up_all_the_while(
    server: ServerProcess, dribbling: list[socket.socket]
) -> None:
    from twisted.internet import reactor as global_reactor

    reactor = cast(ReactorBase, global_reactor)
    _, _, token = await enrolled(reactor, server.invite("laptop"))
    async with client_of(reactor, server, token) as client:
        opening = deferToThread(connect, server, dribbling)
        count, previous = 0, None
        try:
            while not opening.called or count < 3:
                count += 1
                previous = (await back_up(client, count, previous)).generation
        finally:
            await opening
        assert len(dribbling) == DRIBBLING
    # And one that comes new has room, too.
    async with client_of(reactor, server, token) as client:
        assert len(await client.list_generations()) == count
        await back_up(client, count + 1, previous)
    assert still_open(dribbling) <= CONNECTIONS_MAX
    assert memory_kb(server) < 400 * 1024
