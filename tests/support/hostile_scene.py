"""A client that speaks to a hostile server through a Unix socket, and by its own clock."""

from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest_twisted  # type: ignore[import-untyped]
from attrs import define
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent

from obnam.model.ids import ChunkId, SessionId, parse_generation_id
from obnam.repository.connect import Connections, UnixEndpoints
from obnam.repository.exchange import Exchange
from obnam.repository.http import HttpRepository
from obnam.wire.frames import pack_header
from tests.support.hostile_server import HostileServer

reactor: Any = global_reactor

SESSION = SessionId("0" * 32)
GENERATION = parse_generation_id("a" * 32)
A, B = (ChunkId(b"\x01" + sha256(name).digest()) for name in (b"a", b"b"))


@define
class Scene:
    """A client and the hostile server it speaks to. ``clock`` only moves when told to."""

    server: HostileServer
    repository: HttpRepository
    clock: Clock
    socket: str

    def reply(self, data: bytes) -> None:
        self.server.reply = lambda connection, _: connection.send(data)


@pytest_twisted.async_yield_fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    server = HostileServer(lambda connection, body: None)
    path = str(tmp_path / "s")
    port = reactor.listenUNIX(path, server)
    connections = Connections.none_yet(reactor)
    agent = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]
        reactor, UnixEndpoints(connections, path), pool=connections.pool
    )
    clock = Clock()
    exchange = Exchange(HTTPClient(agent), clock, "http://server", token="secret")
    repository = HttpRepository(exchange, connections.close)
    yield Scene(server, repository, clock, path)
    await repository.close()
    await port.stopListening()
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abortConnection()  # type: ignore[attr-defined]


def frame(chunk_id: ChunkId, sealed: bytes) -> bytes:
    return pack_header(chunk_id, len(sealed)) + sealed


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor turn until something holds."""
    for _ in range(10_000):
        if condition():
            return
        await deferLater(reactor, 0, lambda: None)
    raise AssertionError("it never came true")
