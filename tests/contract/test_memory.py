"""The memory fake keeps the contract."""

import pytest

from tests.contract.damage_contract import Break, BrokenContract
from tests.contract.repository_contract import Repositories, RepositoryContract
from tests.support.memory_repository import MemoryServer


class TestMemoryRepository(RepositoryContract, BrokenContract):
    @pytest.fixture
    def server(self) -> MemoryServer:
        return MemoryServer()

    @pytest.fixture
    def break_chunk(self, server: MemoryServer) -> Break:
        return server.break_chunk

    @pytest.fixture
    def repositories(self, server: MemoryServer) -> Repositories:
        stranger = MemoryServer().client("laptop")
        return Repositories(server.client("laptop"), server.client("desktop"), stranger)
