"""The check of a repository beside everything else that the server does."""

from attrs import evolve
from twisted.logger import Logger

from obnam_server.store.repository import RepositoryStore
from obnam_server.store.upkeep.checking import Finding
from obnam_server.work import Work

log = Logger()


async def check(repository: RepositoryStore, work: Work, *, repair: bool) -> list[Finding]:
    """Whether segments, index and generations say the same; with ``repair`` what can be repaired
    is, one change after another. Raises `StoreFull`, `StoreFailed`.
    """
    found = await work.background(lambda: list(repository.checking.find()))
    if not repair:
        return found
    done = []
    for finding in found:
        repaired = await work.write(repository.change, repository.checking.repair, finding)
        done.append(evolve(finding, repaired=repaired))
        log.info("Repository {name}: {finding}", name=repository.name, finding=done[-1])
    return done
