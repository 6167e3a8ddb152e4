"""The client keeps the contract with the server that it starts itself, on a Unix socket."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred

from obnam.model.ids import ClientName, RepositoryName
from obnam.repository import embedded
from obnam.repository.connect import Connections, open_embedded, unix_exchange
from obnam.repository.enrol import Invitation, enrol, new_token
from obnam.repository.http import HttpRepository
from obnam_server.admin.clients import invite
from obnam_server.config import load
from tests.contract.repository_contract import Repositories, RepositoryContract

reactor: Any = global_reactor

SCOPES = ("backup", "restore", "manage")
_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    data = tmp_path_factory.mktemp("disk") / "repository"
    started = Deferred.fromCoroutine(embedded.start(reactor, data, [Path("/tmp")]))
    server: embedded.EmbeddedServer = pytest_twisted.blockon(started)
    yield server
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


async def joined(server: embedded.EmbeddedServer, name: str, repository: str) -> HttpRepository:
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
    return HttpRepository(unix_exchange(connections, server.socket_path, token), connections.close)


class TestEmbedded(RepositoryContract):
    @pytest_twisted.async_yield_fixture
    async def repositories(self, server: embedded.EmbeddedServer) -> AsyncIterator[Repositories]:
        number = next(_numbers)
        opened = [
            await joined(server, f"laptop-{number}", f"home-{number}"),
            await joined(server, f"desktop-{number}", f"home-{number}"),
            await joined(server, f"stranger-{number}", f"elsewhere-{number}"),
        ]
        yield Repositories(*opened)
        for each in opened:
            await each.close()


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
