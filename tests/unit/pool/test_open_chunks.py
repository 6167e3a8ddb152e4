"""Chunks of a job: opened once, and let go when nothing more of them is needed."""

import pytest

from obnam.crypto.envelope import Compression
from obnam.crypto.names import Namer
from obnam.crypto.seal import Sealer, Suite
from obnam.model.chunk import ChunkKind
from obnam.pool.open_chunks import ChunkUnusable, OpenChunks, SealedChunk
from tests.support.inline_pool import tools_of
from tests.unit.pool.bench import KEYS, noise

TEXTS = [b"the first, " * 1000, noise(1, 10_000), b"the third, " * 1000]


def sealed(*texts: bytes) -> tuple[memoryview, list[SealedChunk]]:
    """Chunks end to end in memory, and where they lie."""
    sealer, namer = Sealer(KEYS, Suite.AEGIS256, Compression(1)), Namer(KEYS)
    memory, chunks = bytearray(), []
    for text in texts:
        name = namer.name(ChunkKind.DATA, text)
        chunk = sealer.seal(ChunkKind.DATA, name, text)
        chunks.append(SealedChunk(name, len(memory), len(chunk)))
        memory += chunk
    return memoryview(memory), chunks


def test_pieces_in_any_order() -> None:
    opened = OpenChunks(tools_of(KEYS), *sealed(*TEXTS))
    for chunk, start, length in [(0, 0, 11), (2, 500, 100), (1, 9_990, 10), (0, 11, 11), (2, 0, 1)]:
        assert opened.piece(chunk, start, length) == TEXTS[chunk][start : start + length]
    assert [opened.whole(chunk) for chunk in range(3)] == TEXTS


def test_a_plaintext_is_kept_until_its_last_piece() -> None:
    opened = OpenChunks(tools_of(KEYS), *sealed(*TEXTS), uses=[0, 1, 0, 2, 0])
    pieces = [opened.piece(chunk, 1, 50) for chunk in (0, 0, 2, 1, 0)]
    assert pieces == [TEXTS[chunk][1:51] for chunk in (0, 0, 2, 1, 0)]
    # Opened in place, where it was sealed: what was let go cannot be had again.
    with pytest.raises(ChunkUnusable, match="damaged"):
        opened.piece(0, 1, 50)


def test_a_piece_beyond_its_chunk() -> None:
    opened = OpenChunks(tools_of(KEYS), *sealed(*TEXTS), uses=[1, 1])
    with pytest.raises(ChunkUnusable, match="shorter than it must be"):
        opened.piece(1, 9_990, 11)
    assert opened.piece(1, 9_990, 10) == TEXTS[1][-10:]
