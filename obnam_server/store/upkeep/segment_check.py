"""Reads one segment from the disk and says what in it is not as it was written.

Piece by piece, so that whoever calls can take its time: nothing waits behind a large segment.
What matters is what the index refers to; a copy that it does not use may be as it likes.
"""

from collections.abc import Generator, Iterable, Sequence

import xxhash
from attrs import define, field, frozen

from obnam.errors import UnknownFormat
from obnam.model.ids import ChunkId
from obnam.wire.limits import MIB
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import Location, SegmentNumber
from obnam_server.store.segments.format import (
    CHUNK_KINDS,
    HEADER_BYTES,
    Entry,
    location_of,
    name_of,
    unpack_loosely,
)
from obnam_server.store.segments.parts import RepositoryHome, read, read_trailer

PIECE_BYTES = MIB
"""The most that one step reads of frames. The trailer, 69 bytes a frame, is read in one step."""


@frozen
class Checked:
    """What one segment is like. ``size_bytes``: its size, by the index.

    ``bad``: frames in use that are not as they were written, or cannot be read. ``problem``: what
    is wrong with header or trailer. Without a trailer nobody knows any more how a frame was
    written: those are ``unsure``, and stay in use, since whoever restores them checks their seal.
    """

    segment: SegmentNumber
    kind: int
    size_bytes: int
    bad: Sequence[tuple[ChunkId, Location]] = ()
    problem: str | None = None
    unsure: int = 0


@define(eq=False)
class SegmentCheck:
    """One segment being checked: call `step` until it gives 0; then there is a ``result``."""

    _home: RepositoryHome
    _index: IIndex
    _segment: SegmentNumber
    _kind: int
    _size_bytes: int
    result: Checked | None = field(init=False, default=None)
    _steps: Generator[int, None, Checked] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._steps = self._check()

    def step(self) -> int:
        """Read on: how many bytes were read, 0 when there is no more.

        `StoreFailed` when the system has no descriptors or no memory left, say: that tells
        nothing about the segment, and it has to be checked another time.
        """
        done = 0
        while self.result is None and done < PIECE_BYTES:
            try:
                done += next(self._steps)
            except StopIteration as ended:
                self.result = ended.value
        return done

    def checked(self) -> Checked:
        """The result, once there is no more to read."""
        if self.result is None:
            raise ValueError(f"segment {name_of(self._segment)} is not checked to its end")
        return self.result

    def _check(self) -> Generator[int, None, Checked]:
        home, segment = self._home, self._segment
        problem, entries, limit = None, None, 0
        try:
            home.segments.let_go(home.name, segment)
            footer, entries = read_trailer(home, segment)
            limit = footer.body_end
            yield footer.size_bytes - footer.body_end + HEADER_BYTES
            if footer.kind != self._kind:
                problem = f"is of kind {footer.kind}, and not of {self._kind}"
        except UnknownFormat as error:
            problem = f"is of version {error.version}"
        except DamagedSegment as error:
            problem = error.problem
        if entries is None:
            entries = []
            if self._kind in CHUNK_KINDS:
                entries = entries_without_trailer(home, self._index, segment)
            limit = max((e.offset + e.length for e in entries), default=0)
        reader = _Reader(home, segment, limit)
        bad, unsure = [], 0
        for entry in self._in_use(entries):
            digest = yield from reader.digest(entry)
            if digest is None or (entry.digest and digest != entry.digest):
                bad.append((entry.chunk_id, location_of(segment, entry)))
            elif not entry.digest:
                unsure += 1
        return Checked(segment, self._kind, self._size_bytes, bad, problem, unsure)

    def _in_use(self, entries: Sequence[Entry]) -> Iterable[Entry]:
        """In the order in which they lie."""
        in_order = sorted(entries, key=lambda entry: entry.offset)
        if self._kind not in CHUNK_KINDS:
            return in_order
        places = self._index.locate([entry.chunk_id for entry in entries])
        return [e for e in in_order if places.get(e.chunk_id) == location_of(self._segment, e)]


def entries_without_trailer(
    home: RepositoryHome, index: IIndex, segment: SegmentNumber
) -> list[Entry]:
    """The chunks of a segment as the index knows them, in the order in which they lie.

    Each with the digest that an entry has which says the same of it; an empty one: none has.
    """
    known = index.chunks_in(segment)
    end = max((c.location.offset + c.location.length for c in known), default=HEADER_BYTES)
    found: dict[object, bytes] = {}
    try:
        size_bytes = home.segments.size_bytes(home.name, segment)
        tail = read(home, Location(segment, end, max(0, size_bytes - end)))
        for entry in unpack_loosely(tail):
            found[entry.chunk_id, entry.number, location_of(segment, entry)] = entry.digest
    except DamagedSegment:
        # It cannot be read at all, then: each frame is looked at by itself.
        found = {}
    return [
        Entry(
            chunk.chunk_id,
            chunk.number,
            chunk.location.offset,
            chunk.location.length,
            found.get((chunk.chunk_id, chunk.number, chunk.location), b""),
        )
        for chunk in known
    ]


class _Reader:
    """Frames of a segment through one buffer; small ones that lie together are read together."""

    def __init__(self, home: RepositoryHome, segment: SegmentNumber, limit: int) -> None:
        self._home = home
        self._segment = segment
        self._limit = limit
        self._buffer = memoryview(b"")
        self._start = self._end = 0

    def digest(self, entry: Entry) -> Generator[int, None, bytes | None]:
        """The xxh3-128 of a frame as it is now, ``None``: it cannot be read. Yields bytes read."""
        content = xxhash.xxh3_128()
        at, end = entry.offset, entry.offset + entry.length
        while at < end:
            if not self._start <= at < self._end:
                ahead = min(PIECE_BYTES, max(self._limit, end) - at)
                # Behind it may be something that cannot be read: that is no fault of this frame.
                if not self._fill(at, ahead) and not self._fill(at, min(PIECE_BYTES, end - at)):
                    return None
                yield self._end - self._start
            stop = min(end, self._end)
            content.update(self._buffer[at - self._start : stop - self._start])
            at = stop
        return content.digest()

    def _fill(self, start: int, length: int) -> bool:
        try:
            data = self._home.segments.read(self._home.name, self._segment, start, length)
        except DamagedSegment:
            self._start = self._end = 0
            return False
        self._buffer = memoryview(data)
        self._start, self._end = start, start + length
        return True
