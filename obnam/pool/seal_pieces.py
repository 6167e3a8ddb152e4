"""Job of a backup's second step: compress and seal what the server does not have."""

from collections.abc import Sequence

from obnam.model.chunk import ChunkKind
from obnam.pool.named import Piece
from obnam.pool.worker import Tools
from obnam.wire.frames import FRAME_HEADER_BYTES, write_header


def seal_pieces(
    tools: Tools, slab_name: str, pieces: Sequence[Piece], into_name: str, start: int
) -> int:
    """Seal pieces of one slab into frames in another, from ``start`` on; where they end."""
    plaintext = tools.slab(slab_name)
    into = tools.slab(into_name)
    end = start
    for offset, length, chunk_id in pieces:
        begin = end + FRAME_HEADER_BYTES
        sealed = tools.sealer.seal_into(
            ChunkKind.DATA, chunk_id, plaintext[offset : offset + length], into[begin:]
        )
        write_header(into, end, chunk_id, sealed)
        end = begin + sealed
    return end
