"""One body on its way into a segment.

The pieces of the body are written as they come, frame headers and all: a segment's body *is* the
body of the request. On the way each frame is found, checked and hashed.
"""

from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from obnam_server.store.seams.segments import ISegmentWriter
from obnam_server.store.seams.values import Location, NumberedChunk, SegmentNumber, SegmentSummary
from obnam_server.store.segments.format import Entry, Footer, SegmentKind, pack_header, pack_trailer
from obnam_server.store.segments.numbers import Given, Numbers
from obnam_server.store.segments.received import ReceivedFrames


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
    _received: ReceivedFrames = field(init=False, factory=ReceivedFrames)
    _given: Given | None = field(init=False, default=None)
    _accepted: bool = field(init=False, default=False)

    def begin(self) -> None:
        """Write the header. `StoreFull`."""
        self._writer.write([pack_header(SegmentKind.CHUNKS, self._repository_id)])

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next pieces of the body; the caller may change them afterwards.

        `BadFrame`: not a body. `StoreFull`, `StoreFailed`. After any of them: `abort`.
        """
        self._received.feed(pieces)
        self._writer.write(pieces)

    def finish(self) -> None:
        """The body is whole: durable once this returns, in a segment not yet accepted.

        `BadFrame`, `StoreFull`, `StoreFailed`. After any of them: `abort`.
        """
        self._received.whole()
        self._finish(self._received)

    def leave(self) -> Path:
        """The file, for whoever writes the body in place of `write`: behind what is there.

        `StoreFull`, `StoreFailed`.
        """
        return self._writer.leave()

    def finish_written(self, received: ReceivedFrames) -> None:
        """Like `finish`, when another process has written the body, and ``received`` says what it
        was made of. `StoreFailed` also when the file is not as long as that.
        """
        self._writer.was_written(received.body_end)
        self._finish(received)

    def _finish(self, received: ReceivedFrames) -> None:
        # First the chunks' numbers, then the segment's: of two uploads of the same new chunk, the
        # one whose segment has the lower number is the one that is kept.
        self._given = self._numbers.give([chunk_id for chunk_id, *_ in received.found])
        segment = self._numbers.new_segment()
        entries = [
            Entry(chunk_id, self._given.numbers[chunk_id], offset, length, digest)
            for chunk_id, offset, length, digest in received.found
        ]
        footer = Footer(
            kind=SegmentKind.CHUNKS,
            repository_id=self._repository_id,
            segment=segment,
            created_ns=self.created_ns,
            body_end=received.body_end,
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
