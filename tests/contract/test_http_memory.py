"""The HTTP client and the server's application together keep the contract."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from zope.interface.verify import verifyClass

from obnam.repository.http import HttpRepository
from obnam.wire.interfaces import IRepository
from tests.contract.repository_contract import Repositories, RepositoryContract
from tests.support.client_in_memory import client_in_memory
from tests.support.server_in_memory import ServerInMemory

SCOPES = ("backup", "restore", "manage")


class TestHttpInMemory(RepositoryContract):
    @pytest.fixture
    def repositories(self, tmp_path: Path) -> Iterator[Repositories]:
        server = ServerInMemory.open(tmp_path / "data")
        clients = [("laptop", "home"), ("desktop", "home"), ("stranger", "elsewhere")]
        opened = [
            client_in_memory(server, server.token(name, repository, SCOPES))
            for name, repository in clients
        ]
        yield Repositories(*(cast(IRepository, each) for each in opened))
        for each in opened:
            each.close()
        server.close()

    def test_interface(self, repositories: Repositories) -> None:
        assert verifyClass(IRepository, HttpRepository)
