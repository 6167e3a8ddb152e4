"""What the server says is damaged, page after page."""

from collections.abc import Callable

from obnam.model.ids import ChunkId
from obnam.wire.damage import DamagedChunk
from obnam.wire.interfaces import IDamage

DAMAGED_MAX = 200_000
"""Damaged chunks that are looked at in one run (about 100 GB of data): memory is bounded, and the
next run sees others."""


async def each_damaged(repository: IDamage, take: Callable[[DamagedChunk], None]) -> None:
    """Give ``take`` the damaged chunks that generations need, `DAMAGED_MAX` at most."""
    first: int | None = 0
    left = DAMAGED_MAX
    while first is not None and left > 0:
        page = await repository.damage(first)
        for chunk in page.chunks[:left]:
            take(chunk)
        left -= max(1, len(page.chunks))
        first = page.next_from


async def damaged_ids(repository: IDamage) -> set[ChunkId]:
    """The ids of the chunks that are damaged and that generations need."""
    found: set[ChunkId] = set()

    def take(chunk: DamagedChunk) -> None:
        if chunk.chunk_id is not None:
            found.add(chunk.chunk_id)

    await each_damaged(repository, take)
    return found
