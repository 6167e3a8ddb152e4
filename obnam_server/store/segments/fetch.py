"""Chunks out of segments: where which are read together, and the answer's bytes.

A segment's body is made of the same frames as an answer. So chunks that lie one behind the other,
as those of one file mostly do, are read with one call, headers included.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from obnam.model.ids import ChunkId
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.limits import MIB
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.values import Location
from obnam_server.store.segments.parts import RepositoryHome

RUN_BYTES = MIB
"""How much is read at once, unless a single chunk is larger."""

PIECE_BYTES = 256 * 1024
"""How much is given to the connection at once. One write of a whole body makes TLS three times
slower, because nothing says "enough" until all of it is encrypted and in memory."""


Wanted = tuple[ChunkId, Location | None]
"""A chunk, and where it lies; ``None``: absent."""


@frozen
class Run:
    """Chunks that lie one behind the other; ``place`` ``None``: absent ones."""

    place: Location | None
    chunks: Sequence[tuple[ChunkId, int]]


def plan_runs(wanted: Sequence[Wanted], limit_bytes: int = RUN_BYTES) -> Iterator[Run]:
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


def size_of(wanted: Sequence[Wanted]) -> int:
    """Bytes of the frames of ``wanted``."""
    return sum(FRAME_HEADER_BYTES + (place.length if place else 0) for _, place in wanted)


def read_frames(
    home: RepositoryHome,
    wanted: Sequence[Wanted],
    moved: Callable[[Sequence[Wanted]], Sequence[Wanted]],
) -> Iterator[bytes]:
    """The frames of ``wanted``, in its order, in pieces of at most 256 KiB.

    When one cannot be read, all that is left is given to ``moved``, which says where it is now;
    nowhere else: `DamagedSegment`. `StoreFailed`.
    """
    left = wanted
    while left:
        given = 0
        try:
            for run in plan_runs(left):
                yield from read_run(home, run)
                given += len(run.chunks)
            return
        except DamagedSegment:
            left = moved(left[given:])
            if not left:
                raise


def read_run(home: RepositoryHome, run: Run) -> Sequence[bytes]:
    """The frames of one run, in pieces of at most `PIECE_BYTES`. `DamagedSegment`, `StoreFailed`.

    All of it is read before any of it is sent: what cannot be read can still be elsewhere. The
    pieces are of one size: what is left over would often be so small that the connection waits
    for the next piece, and copies both together.
    """
    if run.place is None:
        return [b"".join([pack_header(chunk_id, 0) for chunk_id, _ in run.chunks])]
    segment, offset, length = run.place.segment, run.place.offset, run.place.length
    headers = deque(_headers(run.chunks))
    pieces = []
    count = -(-length // PIECE_BYTES)
    step = -(-length // count)
    for start in range(0, length, step):
        size = min(step, length - start)
        piece = home.segments.read(home.name, segment, offset + start, size)
        pieces.append(_with_headers(piece, start, headers))
    return pieces


def _headers(chunks: Sequence[tuple[ChunkId, int]]) -> Iterator[tuple[int, bytes]]:
    """Where in a run each frame begins, and its header as the index has it."""
    at = 0
    for chunk_id, length in chunks:
        yield at, pack_header(chunk_id, length)
        at += FRAME_HEADER_BYTES + length


def _with_headers(piece: bytes, start: int, headers: deque[tuple[int, bytes]]) -> bytes:
    """A piece from ``start`` of a run on, with the next ``headers``; those it holds are taken.

    A flipped bit in one header must not spoil the whole answer. As good as always
    they are right already, and then the piece need not be copied.
    """
    stop = start + len(piece)
    mended: bytearray | None = None
    while headers and headers[0][0] < stop:
        at, header = headers[0]
        first, last = max(at, start), min(at + len(header), stop)
        wanted = header[first - at : last - at]
        if piece[first - start : last - start] != wanted:
            mended = bytearray(piece) if mended is None else mended
            mended[first - start : last - start] = wanted
        if at + len(header) > stop:
            break  # The rest of it is in the next piece.
        headers.popleft()
    return piece if mended is None else bytes(mended)
