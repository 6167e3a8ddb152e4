"""The contract of `IRepository`, as tests that every implementation of it must pass.

A test module makes a subclass of `RepositoryContract` with a fixture ``repositories``: three
clients whose repositories are empty. No implementation looks into chunks, so they are nonsense.
"""

from zope.interface.verify import verifyObject

from obnam.wire.interfaces import IRepository
from tests.contract.chunks_contract import ChunksContract
from tests.contract.clients_contract import ClientsContract
from tests.contract.damage_contract import DamageContract
from tests.contract.decisions_contract import DecisionsContract
from tests.contract.generations_contract import GenerationsContract
from tests.contract.values import Repositories

__all__ = ["Repositories", "RepositoryContract"]


class RepositoryContract(
    ChunksContract, GenerationsContract, DecisionsContract, DamageContract, ClientsContract
):
    """All of it."""

    def test_interface(self, repositories: Repositories) -> None:
        assert verifyObject(IRepository, repositories.own)
