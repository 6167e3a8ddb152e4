"""Going on with another history, or another server, than the one that is remembered.

Only when the user says so: it is what the memory of this computer is there to prevent.
"""

from obnam.errors import UsageError
from obnam.repository.generations import Generations
from obnam.repository.opening import OpenedGeneration
from obnam.repository.state import Loss
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import RepositoryDescription


async def check_shown(generations: Generations, shown: RepositoryDescription) -> list[str]:
    """Warnings. Raises ``HistoryBroken`` when what the server shows is not what was seen before."""
    return await generations.history.check(shown, _newest(generations, shown))


async def check_history(repository: IRepository, generations: Generations) -> list[str]:
    """The same, of what it shows now."""
    return await check_shown(generations, await repository.describe())


async def accept_history(
    repository: IRepository, generations: Generations, now_ns: int
) -> Loss | None:
    """Take what the server shows for this client's history; what is lost by that, if anything.

    Raises ``ServerKeyChanged``, and ``HistoryBroken`` when it is no history at all.
    """
    description = await repository.describe()
    return await generations.history.accept(description, _newest(generations, description), now_ns)


async def accept_server(repository: IRepository, generations: Generations, key: bytes) -> None:
    """From now on the server with this key is the right one. Raises `UsageError`."""
    shown = (await repository.describe()).server_key
    if shown != key:
        has = "none" if shown is None else shown.hex()
        raise UsageError(f"the server does not have this key: its key is {has}")
    await generations.history.accept_server(key)


def _newest(
    generations: Generations, description: RepositoryDescription
) -> OpenedGeneration | None:
    return None if description.latest is None else generations.open(description.latest)
