"""The generations of a repository: as the server lists them, and as what was seen demands."""

from collections.abc import Sequence
from datetime import tzinfo

from attrs import frozen

from obnam.errors import HistoryBroken
from obnam.model.ids import ClientName, GenerationId
from obnam.model.reference import Candidate, parse, resolve
from obnam.repository.generations import Generations
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import GenerationSummary


@frozen
class Catalogue:
    """All generations, oldest first; ``client`` is who asks. ``warnings``: lines for the user."""

    client: ClientName
    summaries: Sequence[GenerationSummary]
    warnings: Sequence[str] = ()

    def resolve(self, reference: str, zone: tzinfo | None = None) -> GenerationId:
        """The generation that a REF stands for. Raises `UnknownReference`."""
        candidates = [
            Candidate(each.receipt.generation, each.client, each.receipt.received_ns, each.partial)
            for each in self.summaries
        ]
        return resolve(reference, candidates, self.client, zone)


async def fetch(repository: IRepository, generations: Generations) -> Catalogue:
    """Ask the server. Raises `HistoryBroken` when it hides what this client has done."""
    description = await repository.describe()
    latest = None if description.latest is None else generations.open(description.latest)
    warnings = await generations.check_history(description.client, latest)
    # Asked for after the newest, so that what another run commits meanwhile is no contradiction.
    summaries = await repository.list_generations()
    if latest is not None:
        newest = latest.manifest.generation
        if all(each.receipt.generation != newest for each in summaries):
            raise HistoryBroken(description.client, f"{newest} is not in the list of generations")
    return Catalogue(description.client, summaries, warnings)


async def find(
    repository: IRepository, generations: Generations, reference: str
) -> tuple[GenerationId, Sequence[str]]:
    """The generation that a REF stands for, and warnings. Raises `UnknownReference`."""
    parse(reference)  # What is no reference at all needs no server to say so.
    catalogue = await fetch(repository, generations)
    return catalogue.resolve(reference), catalogue.warnings
