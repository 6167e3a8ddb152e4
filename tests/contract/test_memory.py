"""The memory fake keeps the contract."""

import pytest

from tests.contract.repository_contract import Repositories, RepositoryContract
from tests.support.memory_repository import MemoryServer


class TestMemoryRepository(RepositoryContract):
    @pytest.fixture
    def repositories(self) -> Repositories:
        server = MemoryServer()
        stranger = MemoryServer().client("laptop")
        return Repositories(server.client("laptop"), server.client("desktop"), stranger)
