"""Chunks out of segments: where which are read together, and the answer's bytes.

A segment's body is made of the same frames as an answer. So chunks that lie one behind the other,
as those of one file mostly do, are read with one call, headers included.
"""

from collections.abc import Iterator, Sequence

from attrs import frozen

from obnam.model.ids import ChunkId
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header, write_header
from obnam.wire.limits import MIB
from obnam_server.store.interfaces import Location
from obnam_server.store.parts import RepositoryHome

RUN_BYTES = MIB
"""How much is read at once, unless a single chunk is larger."""

PIECE_BYTES = 256 * 1024
"""How much is given to the connection at once. One write of a whole body makes TLS three times
slower, because nothing says "enough" until all of it is encrypted and in memory."""


@frozen
class Run:
    """Chunks that lie one behind the other; ``place`` ``None``: absent ones."""

    place: Location | None
    chunks: Sequence[tuple[ChunkId, int]]


def plan_runs(
    wanted: Sequence[tuple[ChunkId, Location | None]], limit_bytes: int = RUN_BYTES
) -> Iterator[Run]:
    """Cut ``wanted`` into runs, in its order; each of ``limit_bytes`` at most, or one chunk.

    The place of a run begins with the first frame's header.
    """
    chunks: list[tuple[ChunkId, int]] = []
    run: Location | None = None
    for chunk_id, location in wanted:
        size = FRAME_HEADER_BYTES + (location.length if location else 0)
        start = location.offset - FRAME_HEADER_BYTES if location else 0
        joined = (
            run is not None
            and location is not None
            and run.segment == location.segment
            and run.offset + run.length == start
            and run.length + size <= limit_bytes
        ) or (run is None and location is None and len(chunks) * size < limit_bytes)
        if chunks and not joined:
            yield Run(run, chunks)
            chunks, run = [], None
        if location is not None:
            run = (
                Location(location.segment, start, size)
                if run is None
                else Location(run.segment, run.offset, run.length + size)
            )
        chunks.append((chunk_id, location.length if location else 0))
    if chunks:
        yield Run(run, chunks)


class Reader:
    """Reads runs one after another through one buffer, which saves clearing a new one for each."""

    def __init__(self, home: RepositoryHome) -> None:
        self._home = home
        self._buffer = bytearray()

    def read(self, run: Run) -> Iterator[bytes]:
        """The frames of one run, in pieces of `PIECE_BYTES`. `DamagedSegment`, `StoreFailed`."""
        if run.place is None:
            yield b"".join([pack_header(chunk_id, 0) for chunk_id, _ in run.chunks])
            return
        if len(self._buffer) < run.place.length:
            self._buffer = bytearray(max(run.place.length, RUN_BYTES))
        data = memoryview(self._buffer)[: run.place.length]
        self._home.segments.read(self._home.name, run.place.segment, run.place.offset, data)
        at = 0
        for chunk_id, length in run.chunks:
            # As the index has them: a flipped bit in one header must not spoil the whole answer.
            at = write_header(data, at, chunk_id, length) + length
        for at in range(0, len(data), PIECE_BYTES):
            yield bytes(data[at : at + PIECE_BYTES])
