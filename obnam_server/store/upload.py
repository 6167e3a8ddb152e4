"""One body on its way into a segment.

The pieces of the body are written as they come, frame headers and all: a segment's body *is* the
body of the request. On the way each frame is found, checked and hashed.
"""

from collections.abc import Sequence

import xxhash
from attrs import define, field

from obnam.model.ids import ChunkId
from obnam.wire.frames import BadFrame, Frame, FrameReader
from obnam.wire.limits import UPLOAD_BODY_MAX
from obnam_server.store.interfaces import (
    Location,
    NumberedChunk,
    SegmentNumber,
    SegmentSummary,
)
from obnam_server.store.numbers import Given, Numbers
from obnam_server.store.segment_format import (
    HEADER_BYTES,
    Entry,
    Footer,
    SegmentKind,
    pack_header,
    pack_trailer,
)
from obnam_server.store.segment_interfaces import ISegmentWriter

UPLOAD_FRAMES_MAX = 65_536
"""Frames in one body, so that its trailer stays below 5 MiB and the index is not held up long.
The smallest sealed chunks are about 64 bytes; usual ones have 100 KiB and more."""


@define(eq=False)
class Upload:
    """One body. One thread at a time; accept it, or abort it.

    ``created_ns``: when the segment began, ns since the epoch.
    """

    _writer: ISegmentWriter
    _numbers: Numbers
    _repository_id: bytes
    created_ns: int
    chunks: list[NumberedChunk] = field(init=False, factory=list)
    summary: SegmentSummary | None = field(init=False, default=None)
    _reader: FrameReader = field(init=False, factory=FrameReader)
    _frames: list[tuple[ChunkId, int, int]] = field(init=False, factory=list)
    _digests: list[bytes] = field(init=False, factory=list)
    _hash: xxhash.xxh3_128 = field(init=False, factory=xxhash.xxh3_128)
    _given: Given | None = field(init=False, default=None)
    _accepted: bool = field(init=False, default=False)

    def begin(self) -> None:
        """Write the header. `StoreFull`."""
        self._writer.write([pack_header(SegmentKind.CHUNKS, self._repository_id)])

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next pieces of the body; the caller may change them afterwards.

        `BadFrame`: not a body. `StoreFull`, `StoreFailed`. After any of them: `abort`.
        """
        reader, update = self._reader, self._hash.update
        for piece in pieces:
            for found in reader.feed(piece):
                if isinstance(found, Frame):
                    self._begin_frame(found)
                    update = self._hash.update
                else:
                    update(found)
        if reader.position > UPLOAD_BODY_MAX:
            raise BadFrame(f"the body is longer than {UPLOAD_BODY_MAX} bytes")
        self._writer.write(pieces)

    def _begin_frame(self, frame: Frame) -> None:
        if not frame.length:
            raise BadFrame("a frame without sealed bytes")
        if self._frames:
            self._digests.append(self._hash.digest())
        if len(self._frames) == UPLOAD_FRAMES_MAX:
            raise BadFrame(f"the body has more than {UPLOAD_FRAMES_MAX} frames")
        self._hash = xxhash.xxh3_128()
        self._frames.append((frame.chunk_id, HEADER_BYTES + frame.offset, frame.length))

    def finish(self) -> None:
        """The body is whole: durable once this returns, in a segment not yet accepted.

        `BadFrame`, `StoreFull`, `StoreFailed`. After any of them: `abort`.
        """
        if not self._frames or not self._reader.at_end:
            raise BadFrame("the body ends within a frame" if self._frames else "the body is empty")
        self._digests.append(self._hash.digest())
        # First the chunks' numbers, then the segment's: of two uploads of the same new chunk, the
        # one whose segment has the lower number is the one that is kept.
        self._given = self._numbers.give([chunk_id for chunk_id, _, _ in self._frames])
        segment = self._numbers.new_segment()
        entries = [
            Entry(chunk_id, self._given.numbers[chunk_id], offset, length, digest)
            for (chunk_id, offset, length), digest in zip(self._frames, self._digests, strict=True)
        ]
        footer = Footer(
            kind=SegmentKind.CHUNKS,
            repository_id=self._repository_id,
            segment=segment,
            created_ns=self.created_ns,
            body_end=HEADER_BYTES + self._reader.position,
            entry_count=len(entries),
        )
        self._writer.write([pack_trailer(footer, entries)])
        self.summary = self._writer.finish(segment)
        self.chunks = numbered(segment, entries)

    def abort(self) -> None:
        """Throw it away, finished or not. Harmless when repeated, and once it is accepted."""
        if self._accepted:
            return
        # Only when it is surely gone may its numbers be given to other chunks.
        self._writer.abort()
        self._let_go()

    def accepted(self) -> None:
        """The index knows it: it stays."""
        self._accepted = True
        self._let_go()

    def _let_go(self) -> None:
        if self._given is not None:
            self._numbers.release(self._given)
            self._given = None


def numbered(segment: SegmentNumber, entries: Sequence[Entry]) -> list[NumberedChunk]:
    """What the index wants to know of a segment of chunks."""
    return [
        NumberedChunk(e.chunk_id, e.number, Location(segment, e.offset, e.length)) for e in entries
    ]
