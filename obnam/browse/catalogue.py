"""The generations of a repository: as the server lists them, and as what was seen demands."""

from collections.abc import Sequence
from datetime import tzinfo
from itertools import pairwise

from attrs import frozen

from obnam.errors import DamagedGeneration
from obnam.history_errors import HistoryBroken
from obnam.model.ids import ClientName, GenerationId
from obnam.model.reference import Candidate, Prefix, parse, resolve
from obnam.repository.generations import Generations
from obnam.wire.interfaces import IRepository
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import GenerationSummary, RepositoryDescription

TRIES = 3
"""Looks at newest generation and list: a backup may commit between the two."""


@frozen
class Catalogue:
    """All generations, oldest first; ``description``: who asks. ``warnings``: lines for the user.

    ``unchecked``: why the list could not be checked. Then the server alone says which is newest,
    and it is believed in nothing but what a generation that is named by its id shows itself.
    """

    description: RepositoryDescription
    listed: Sequence[ListedGeneration]
    warnings: Sequence[str] = ()
    unchecked: DamagedGeneration | None = None

    @property
    def client(self) -> ClientName:
        """Who asks."""
        return self.description.client

    def find(self, reference: str) -> ListedGeneration:
        """The generation that a REF stands for. Raises as `resolve` does."""
        generation = self.resolve(reference)
        return next(each for each in self.listed if each.generation == generation)

    def resolve(self, reference: str, zone: tzinfo | None = None) -> GenerationId:
        """The generation that a REF stands for. Raises `UnknownReference`; ``unchecked``, too."""
        if self.unchecked is not None and not isinstance(parse(reference, zone), Prefix):
            raise self.unchecked
        candidates = [
            Candidate(each.receipt.generation, each.client, each.receipt.received_ns, each.partial)
            for each in (listed.summary for listed in self.listed)
        ]
        return resolve(reference, candidates, self.client, zone)


async def fetch(repository: IRepository, generations: Generations) -> Catalogue:
    """Ask the server. Raises `HistoryBroken` when it hides or reorders what this client has done.

    The list itself is not signed, but the newest manifest is, and its chain was checked.
    """
    tries = 0
    while True:
        tries += 1
        description = await repository.describe()
        client, latest = description.client, description.latest
        await generations.history.meet(description)
        try:
            opened = None if latest is None else generations.open(latest)
            warnings = await generations.history.check(description, opened)
        except DamagedGeneration as error:
            said = f"{error}. Others can be restored, by their ids"
            return Catalogue(description, await repository.list_generations(), [said], error)
        listed = await repository.list_generations()
        newest = None if latest is None else latest.summary
        own = [each.summary for each in listed if each.summary.client == client]
        problem = find_problem(own, newest)
        everyone = [each.summary for each in listed]
        problem = problem or await generations.history.list_problem(client, everyone)
        if problem is None:
            return Catalogue(description, listed, warnings)
        if tries == TRIES:
            raise HistoryBroken(client, problem)


def find_problem(
    listed: Sequence[GenerationSummary], newest: GenerationSummary | None
) -> str | None:
    """Why one client's part of a list (oldest first) cannot be right. Pure.

    It must end with ``newest``, and what a generation follows cannot stand elsewhere than right
    before it. It need not stand there at all: somebody may have forgotten it.
    """
    if newest is not None and newest not in listed:
        return f"{newest.receipt.generation} is not in the list of generations"
    if listed and listed[-1] != newest:
        return f"the list of generations ends with {listed[-1].receipt.generation}, not the newest"
    ids = {each.receipt.generation for each in listed}
    for before, after in pairwise(listed):
        if after.previous in ids and after.previous != before.receipt.generation:
            return (
                f"{after.receipt.generation} follows {after.previous}, "
                f"and is listed behind {before.receipt.generation}"
            )
    return None


async def find(
    repository: IRepository, generations: Generations, reference: str
) -> tuple[GenerationId, Sequence[str]]:
    """The generation that a REF stands for, and warnings. Raises `UnknownReference`."""
    parse(reference)  # What is no reference at all needs no server to say so.
    catalogue = await fetch(repository, generations)
    return catalogue.resolve(reference), catalogue.warnings
