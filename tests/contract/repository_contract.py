"""The contract of `IRepository`, as tests that every implementation of it must pass.

A test module makes a subclass of `RepositoryContract` with a fixture ``repositories``: three
clients whose repositories are empty. No implementation looks into chunks, so they are nonsense.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

from zope.interface.verify import verifyObject

from obnam.repository.http import HttpRepository
from obnam.wire.interfaces import IRepository
from tests.contract.chunks_contract import ChunksContract
from tests.contract.clients_contract import ClientsContract
from tests.contract.damage_contract import DamageContract
from tests.contract.decisions_contract import DecisionsContract
from tests.contract.generations_contract import GenerationsContract
from tests.contract.values import Repositories

__all__ = ["Repositories", "RepositoryContract", "three_clients"]

_numbers = count()


async def three_clients(
    join: Callable[[str, str], Awaitable[HttpRepository]],
) -> AsyncIterator[Repositories]:
    """Three that have joined: ``join`` is given the name of a client, and that of a repository."""
    number = next(_numbers)
    opened = [
        await join(f"laptop-{number}", f"home-{number}"),
        await join(f"desktop-{number}", f"home-{number}"),
        await join(f"stranger-{number}", f"elsewhere-{number}"),
    ]
    yield Repositories(*opened)
    for each in opened:
        await each.close()


class RepositoryContract(
    ChunksContract, GenerationsContract, DecisionsContract, DamageContract, ClientsContract
):
    """All of it."""

    def test_interface(self, repositories: Repositories) -> None:
        assert verifyObject(IRepository, repositories.own)
