"""Writing what is live in some segments into a new one.

Until the index is told (`collection.Collection.replace`) nothing depends on the new segment. Should
a crash leave it behind, it is adopted when the repository is opened, and its copies are as good as
the others.
"""

from collections.abc import Iterator, Sequence

from attrs import define, evolve, field
from pyroaring import BitMap64

from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.limits import MIB
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.segments import ISegmentWriter
from obnam_server.store.seams.values import NumberedChunk, SegmentNumber, SegmentSummary
from obnam_server.store.segments.format import (
    HEADER_BYTES,
    Entry,
    Footer,
    SegmentKind,
    pack_trailer,
)
from obnam_server.store.segments.format import pack_header as pack_segment_header
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import RepositoryHome, read_entry, read_trailer
from obnam_server.store.segments.upload import numbered

STEP_BYTES = MIB
"""How much is copied before the caller can take a breath."""


@define(eq=False)
class Rewrite:
    """One new segment. One thread at a time; take all `steps`, then replace, or `abort`.

    ``live``: numbers of live chunks, as of the commit with sequence number ``since - 1``.
    ``moved``: chunks as they lie in the old segments, and in the new one; ``left_out``: dead ones.
    """

    segments: Sequence[SegmentNumber]
    created_ns: int
    since: int
    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _live: BitMap64
    moved: list[tuple[NumberedChunk, NumberedChunk]] = field(init=False, factory=list)
    left_out: list[NumberedChunk] = field(init=False, factory=list)
    summary: SegmentSummary | None = field(init=False, default=None)
    _writer: ISegmentWriter | None = field(init=False, default=None)
    _entries: list[Entry] = field(init=False, factory=list)
    _copied: list[NumberedChunk] = field(init=False, factory=list)
    _position: int = field(init=False, default=HEADER_BYTES)

    def steps(self) -> Iterator[int]:
        """Do it, piece by piece; the bytes that each read or wrote. Whole once it ends.

        `DamagedSegment`: left to scrub, which finds out which chunks it concerns. `StoreFull`,
        `StoreFailed`. After any of them: `abort`.
        """
        for segment in self.segments:
            yield from self._copy(segment)
        if self._writer is not None:
            yield self._finish(self._writer)

    def _copy(self, segment: SegmentNumber) -> Iterator[int]:
        _, entries = read_trailer(self._home, segment)
        places = self._index.locate([entry.chunk_id for entry in entries])
        done = 0
        for entry, chunk in zip(entries, numbered(segment, entries), strict=True):
            if places.get(chunk.chunk_id) != chunk.location:
                continue  # another copy counts
            if chunk.number not in self._live:
                self.left_out.append(chunk)
                continue
            self._append(entry, read_entry(self._home, segment, entry))
            self._copied.append(chunk)
            done += 2 * entry.length
            if done >= STEP_BYTES:
                yield done
                done = 0
        yield done

    def _append(self, entry: Entry, sealed: bytes) -> None:
        if self._writer is None:
            self._writer = self._home.segments.begin(self._home.name)
            self._writer.write(
                [pack_segment_header(SegmentKind.COMPACTED, self._home.repository_id)]
            )
        self._writer.write([pack_header(entry.chunk_id, entry.length), sealed])
        offset = self._position + FRAME_HEADER_BYTES
        self._entries.append(evolve(entry, offset=offset))
        self._position = offset + entry.length

    def _finish(self, writer: ISegmentWriter) -> int:
        segment = self._numbers.new_segment()
        footer = Footer(
            kind=SegmentKind.COMPACTED,
            repository_id=self._home.repository_id,
            segment=segment,
            created_ns=self.created_ns,
            body_end=self._position,
            entry_count=len(self._entries),
        )
        trailer = pack_trailer(footer, self._entries)
        writer.write([trailer])
        self.summary = writer.finish(segment)
        self.moved = list(zip(self._copied, numbered(segment, self._entries), strict=True))
        return len(trailer)

    def replaced(self) -> None:
        """The index knows the new segment: it stays."""
        self._writer = None

    def abort(self) -> None:
        """Throw the new segment away. Harmless when repeated, and once it is known."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
