"""The client keeps the contract over TLS, with a real server process and a pinned key."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor

from obnam.repository.connect import Connections, open_tls, tls_exchange
from obnam.repository.enrol import enrol, new_token, parse_invitation
from obnam.repository.http import HttpRepository
from obnam.repository.tls import Trust
from tests.contract.repository_contract import Repositories, RepositoryContract, three_clients
from tests.support.server_process import ServerProcess

reactor: Any = global_reactor

SCOPES = ("backup", "restore", "manage")


async def joined(server: ServerProcess, name: str, repository: str) -> HttpRepository:
    """Join as a client does: from the invitation line."""
    invitation = parse_invitation(server.invite(name, repository, SCOPES))
    trust = Trust(invitation.pin)
    token = new_token(lambda size: name.encode().ljust(size, b"."))
    connections = Connections.none_yet(reactor)
    exchange = tls_exchange(connections, invitation.url, None, trust)
    answer = await enrol(exchange, invitation, token)
    await enrol(exchange, invitation, token)  # the answer may have been lost
    await connections.close()
    assert (answer.client, answer.repository) == (name, repository)
    return open_tls(reactor, invitation.url, token, trust)


@pytest.fixture(scope="module", params=[0, 2], ids=["alone", "workers"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    more = f"workers: {request.param}\n"
    with ServerProcess(tmp_path_factory.mktemp("server"), more=more) as server:
        yield server


class TestHttps(RepositoryContract):
    @pytest_twisted.async_yield_fixture
    async def repositories(self, server: ServerProcess) -> AsyncIterator[Repositories]:
        async for found in three_clients(lambda name, repository: joined(server, name, repository)):
            yield found
