"""The HTTP client and the server's application together keep the contract."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from zope.interface.verify import verifyClass

from obnam.model.ids import RepositoryName
from obnam.repository.http import HttpRepository
from obnam.wire.interfaces import IRepository
from tests.contract.damage_contract import Break, BrokenContract
from tests.contract.repository_contract import Repositories, RepositoryContract
from tests.support.client_in_memory import client_in_memory
from tests.support.scrubbed import break_chunk
from tests.support.server_in_memory import ServerInMemory

SCOPES = ("backup", "restore", "manage")


class TestHttpInMemory(RepositoryContract, BrokenContract):
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[ServerInMemory]:
        server = ServerInMemory.open(tmp_path / "data")
        yield server
        server.close()

    @pytest.fixture
    def break_chunk(self, tmp_path: Path, server: ServerInMemory) -> Break:
        home = server.store.create_repository(RepositoryName("home"))
        return partial(break_chunk, tmp_path / "data", home)

    @pytest.fixture
    def repositories(self, server: ServerInMemory) -> Iterator[Repositories]:
        clients = [("laptop", "home"), ("desktop", "home"), ("stranger", "elsewhere")]
        opened = [
            client_in_memory(server, server.token(name, repository, SCOPES))
            for name, repository in clients
        ]
        yield Repositories(*(cast(IRepository, each) for each in opened))
        for each in opened:
            each.close()

    def test_interface(self, repositories: Repositories) -> None:
        assert verifyClass(IRepository, HttpRepository)
