"""Sealed chunks in a slab, opened when they are needed, each once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import xxhash

from obnam.errors import SealBroken
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId
from obnam.pool.checksum import ContentChecksum
from obnam.pool.worker import Tools


class SealedChunk(NamedTuple):
    """Where a sealed chunk lies in a slab; ``length`` 0: the server does not have it."""

    id: ChunkId
    offset: int
    length: int


Extents = tuple[tuple[int, int, int, int], ...]
"""Position in the file, chunk, start in the chunk's plaintext, length, in bytes; in order.

The chunk is an index into those that came with the job. Plain tuples, because a job has thousands,
and named ones take several times as long to be sent to a worker.
"""

Content = list[tuple[int, memoryview]]
"""What a file has, by position; what lies between is a hole."""


class ChunkUnusable(Exception):
    """A chunk is missing or damaged, or has less in it than is asked for; the text says which."""


class OpenChunks:
    """The chunks of one job, opened in the slab itself: their plaintext is good during the job.

    ``uses`` are the chunks of all pieces that will be asked for, if that is known: then a plaintext
    is let go with its last piece, and the next one lies in the same memory, still in the cache.
    """

    def __init__(
        self,
        tools: Tools,
        slab: memoryview,
        chunks: Sequence[SealedChunk],
        uses: Iterable[int] | None = None,
    ) -> None:
        self._opener = tools.opener
        self._slab = slab
        self._chunks = chunks
        self._opened: list[memoryview | None] = [None] * len(chunks)
        self._broken: set[int] = set()
        self._uses_left = None if uses is None else Counter(uses)

    def piece(self, chunk: int, start: int, length: int) -> memoryview:
        """A part of a chunk's plaintext. Raises `ChunkUnusable`."""
        whole = self._opened[chunk]
        if whole is None:
            whole = self.whole(chunk)
        uses = self._uses_left
        if uses is not None:
            uses[chunk] -= 1
            if not uses[chunk]:
                self._opened[chunk] = None
        piece = whole[start : start + length]
        if len(piece) != length:
            raise ChunkUnusable(f"chunk {self._chunks[chunk].id.hex()} is shorter than it must be")
        return piece

    def whole(self, chunk: int) -> memoryview:
        """A chunk's plaintext. Raises `ChunkUnusable`."""
        opened = self._opened[chunk]
        if opened is None:
            opened = self._opened[chunk] = self._open(chunk)
        return opened

    def content(self, extents: Extents) -> Content:
        """All of a file's content. Raises `ChunkUnusable`."""
        piece = self.piece
        return [
            (position, piece(chunk, start, length)) for position, chunk, start, length in extents
        ]

    def _open(self, chunk: int) -> memoryview:
        chunk_id, offset, length = self._chunks[chunk]
        if not length:
            raise ChunkUnusable(f"chunk {chunk_id.hex()} is missing on the server")
        if chunk not in self._broken:
            sealed = self._slab[offset : offset + length]
            try:
                return memoryview(self._opener.open_in_place(ChunkKind.DATA, chunk_id, sealed))
            except SealBroken:
                self._broken.add(chunk)
        raise ChunkUnusable(f"chunk {chunk_id.hex()} is damaged")


def checksum(content: Content, size: int) -> bytes:
    """The xxh3-128 of a file's content."""
    if len(content) == 1 and len(content[0][1]) == size:
        return xxhash.xxh3_128_digest(content[0][1])
    digest = ContentChecksum()
    for position, data in content:
        digest.update(position, data)
    return digest.finish(size)
