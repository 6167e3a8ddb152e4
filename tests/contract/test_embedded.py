"""The client keeps the contract with the server that it starts itself, on a Unix socket."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred

from obnam.model.ids import ClientName, RepositoryName, SessionId
from obnam.pool.rack import SlabRack
from obnam.repository import embedded
from obnam.repository.connect import Connections, open_embedded, unix_exchange
from obnam.repository.deferring import returns_deferred
from obnam.repository.enrol import Invitation, enrol, new_token
from obnam.repository.http import HttpRepository
from obnam.wire.lent import Lent
from obnam.wire.limits import UPLOAD_BODY_MAX
from obnam_server.admin.clients import invite
from obnam_server.config import load
from tests.contract.repository_contract import Repositories, RepositoryContract, three_clients

reactor: Any = global_reactor

SCOPES = ("backup", "restore", "manage")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    data = tmp_path_factory.mktemp("disk") / "repository"
    started = Deferred.fromCoroutine(embedded.start(reactor, data, [Path("/tmp")]))
    server: embedded.EmbeddedServer = pytest_twisted.blockon(started)
    yield server
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


class Lending(HttpRepository):
    """Lays each body into a slab, as a backup does, and never sends one."""

    rack: SlabRack

    @returns_deferred
    async def store(self, session: SessionId, body: memoryview, lent: Lent | None = None) -> None:
        """See `IChunks`."""
        slab = await self.rack.take()
        if len(body) > len(slab.view):
            self.rack.put_back(slab)
            await super().store(session, body)  # refused before it is looked at
            return
        lent = Lent(slab.number, slab.descriptor, len(slab.view) - len(body))
        slab.view[lent.offset :] = body
        body = slab.view[lent.offset :]
        try:
            assert self._lend is not None
            assert await self._lend(lent)
            await super().store(session, body, lent)
        finally:
            body.release()
            if lent.in_doubt:
                self.rack.replace(slab)
            else:
                self.rack.put_back(slab)


async def joined(
    server: embedded.EmbeddedServer, name: str, repository: str, rack: SlabRack | None = None
) -> HttpRepository:
    """Join as `EmbeddedServer.invite` makes it possible, but without a process for each."""
    line = invite(
        load(Path(server.socket_path).with_name("server.yaml")),
        ClientName(name),
        RepositoryName(repository),
        SCOPES,
        time.time_ns() + 3600 * 10**9,
    )
    token = new_token(os.urandom)
    connections = Connections.none_yet(reactor)
    exchange = unix_exchange(connections, server.socket_path, None)
    await enrol(exchange, Invitation(server.socket_path, line.code, None), token)
    await connections.close()
    # Not `open_embedded`, which would end the server with the first client.
    connections = Connections.none_yet(reactor)
    exchange = unix_exchange(connections, server.socket_path, token)
    if rack is None:
        return HttpRepository(exchange, connections.close)
    lending = Lending(exchange, connections.close, server.lend)
    lending.rack = rack
    return lending


class TestEmbedded(RepositoryContract):
    @pytest_twisted.async_yield_fixture
    async def repositories(self, server: embedded.EmbeddedServer) -> AsyncIterator[Repositories]:
        async for found in three_clients(lambda name, repository: joined(server, name, repository)):
            yield found


@pytest.fixture(scope="module")
def rack() -> Iterator[SlabRack]:
    """The server is lent so many memories in its life, and no more."""
    rack = SlabRack(4, UPLOAD_BODY_MAX)
    yield rack
    rack.close()


class TestEmbeddedThatIsLentMemory(RepositoryContract):
    @pytest_twisted.async_yield_fixture
    async def repositories(
        self, server: embedded.EmbeddedServer, rack: SlabRack
    ) -> AsyncIterator[Repositories]:
        async for found in three_clients(
            lambda name, repository: joined(server, name, repository, rack)
        ):
            yield found


@pytest_twisted.ensureDeferred
async def test_init_and_use(tmp_path: Path) -> None:
    """As a client does it: start, invite oneself, use, and end with the repository."""
    data = tmp_path / "disk" / "repository"
    data.parent.mkdir()
    server = await embedded.start(reactor, data, [Path("/tmp")])
    code = await server.invite(ClientName("me"), RepositoryName("home"), SCOPES)
    token = new_token(os.urandom)
    connections = Connections.none_yet(reactor)
    exchange = unix_exchange(connections, server.socket_path, None)
    await enrol(exchange, Invitation(server.socket_path, code, None), token)
    await connections.close()
    repository = open_embedded(reactor, server, token)
    assert (await repository.describe()).client == "me"
    await repository.close()
    assert not Path(server.socket_path).parent.exists()

    again = open_embedded(reactor, await embedded.start(reactor, data, [Path("/tmp")]), token)
    assert (await again.describe()).repository == "home"
    await again.close()
