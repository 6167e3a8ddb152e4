"""Fetch sealed chunks into a slab."""

from collections.abc import Sequence

from obnam.model.ids import ChunkId
from obnam.pool.open_chunks import SealedChunk
from obnam.pool.slabs import Slab
from obnam.wire.interfaces import IChunks


async def fetch_sealed(
    repository: IChunks, ids: Sequence[ChunkId], slab: Slab, room_bytes: int
) -> list[SealedChunk]:
    """Where in the first ``room_bytes`` of the slab each chunk lies now."""
    frames = await repository.fetch(ids, slab.view[:room_bytes])
    return [SealedChunk(frame.chunk_id, frame.offset, frame.length) for frame in frames]
