"""Segments that the store itself makes: commits and keyrings, a few named parts each.

The same format as segments of chunks. Each part is a frame; what is not a sealed chunk has an id
that begins with a zero byte (`format.part_id`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import xxhash
from attrs import evolve, frozen

from obnam.errors import UnknownFormat
from obnam.model.ids import ChunkId, RepositoryName
from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam.wire.frames import pack_header as pack_frame_header
from obnam_server.store.errors import DamagedSegment, StoreError, StoreUncertain
from obnam_server.store.seams.segments import ISegmentStore, ISegmentWriter
from obnam_server.store.seams.values import Location, SegmentNumber, SegmentSummary
from obnam_server.store.segments.format import (
    FOOTER_BYTES,
    HEADER_BYTES,
    NO_NUMBER,
    Entry,
    Footer,
    SegmentKind,
    location_of,
    name_of,
    pack_header,
    pack_trailer,
    unpack_entries,
    unpack_footer,
    unpack_header,
)


@frozen
class RepositoryHome:
    """A repository among the segments: its name here, and the id that its segments carry."""

    name: RepositoryName
    repository_id: bytes
    segments: ISegmentStore


@frozen
class WrittenParts:
    """A segment of parts, durable and not yet known to the index."""

    summary: SegmentSummary
    places: Sequence[Location]
    writer: ISegmentWriter


def write_parts(
    home: RepositoryHome,
    kind: SegmentKind,
    segment: SegmentNumber,
    created_ns: int,
    parts: Mapping[ChunkId, bytes],
) -> WrittenParts:
    """Write a segment of ``parts``, durably; where each lies, in order. `StoreFull`."""
    frames = [
        (Entry(part, NO_NUMBER, 0, len(content), xxhash.xxh3_128_digest(content)), content)
        for part, content in parts.items()
    ]
    return write_frames(home, kind, segment, created_ns, frames)[0]


def write_frames(
    home: RepositoryHome,
    kind: SegmentKind,
    segment: SegmentNumber,
    created_ns: int,
    frames: Iterable[tuple[Entry, bytes]],
) -> tuple[WrittenParts, list[Entry]]:
    """The same of frames whose entries are known, but for where they lie; and these entries."""
    pieces = [pack_header(kind, home.repository_id)]
    entries, at = [], HEADER_BYTES
    for entry, content in frames:
        pieces += [pack_frame_header(entry.chunk_id, entry.length), content]
        at += FRAME_HEADER_BYTES
        entries.append(evolve(entry, offset=at))
        at += entry.length
    footer = Footer(kind, home.repository_id, segment, created_ns, at, len(entries))
    writer = home.segments.begin(home.name)
    with _whole_or_gone(writer):
        writer.write([*pieces, pack_trailer(footer, entries)])
        summary = writer.finish(segment)
    places = [location_of(segment, entry) for entry in entries]
    return WrittenParts(summary, places, writer), entries


@contextmanager
def known_or_gone(written: WrittenParts) -> Iterator[None]:
    """The index learns of ``written`` within; should it not, the segment is removed again.

    `StoreUncertain` when it cannot be removed: it would come back when the repository is opened.
    """
    with _whole_or_gone(written.writer):
        yield


@contextmanager
def _whole_or_gone(writer: ISegmentWriter) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        try:
            writer.abort()
        except StoreError as failed:
            raise StoreUncertain("a segment", f"could not be removed ({failed})") from error
        raise


def read_trailer(home: RepositoryHome, segment: SegmentNumber) -> tuple[Footer, list[Entry]]:
    """What a segment says of itself, checked. `DamagedSegment`, `UnknownFormat`."""
    size_bytes = home.segments.size_bytes(home.name, segment)
    if size_bytes < HEADER_BYTES + FOOTER_BYTES:
        raise DamagedSegment(name_of(segment), f"is cut short to {size_bytes} bytes")
    foot = read(home, Location(segment, size_bytes - FOOTER_BYTES, FOOTER_BYTES))
    footer = unpack_footer(foot, segment, size_bytes)
    kind, repository_id = unpack_header(read(home, Location(segment, 0, HEADER_BYTES)), segment)
    if kind != footer.kind or {repository_id, footer.repository_id} != {home.repository_id}:
        raise DamagedSegment(name_of(segment), "belongs to another repository")
    trailer = read(home, Location(segment, footer.body_end, size_bytes - footer.body_end))
    return footer, unpack_entries(trailer, footer)


def ids_in_segments(segments: ISegmentStore, name: RepositoryName) -> set[bytes]:
    """The repository ids that the segments of a repository carry. `StoreFailed`."""
    found = set()
    for segment in segments.list(name):
        try:
            head = unpack_header(segments.read(name, segment, 0, HEADER_BYTES), segment)
            home = RepositoryHome(name, head[1], segments)
            read_trailer(home, segment)
        except (DamagedSegment, UnknownFormat):
            continue  # of this one, nothing is believed
        found.add(head[1])
    return found


def read(home: RepositoryHome, location: Location) -> bytes:
    """The bytes at ``location``. `DamagedSegment`, `StoreFailed`."""
    return home.segments.read(home.name, location.segment, location.offset, location.length)


def read_entry(home: RepositoryHome, segment: SegmentNumber, entry: Entry) -> bytes:
    """The bytes of one frame, checked. `DamagedSegment`."""
    content = read(home, location_of(segment, entry))
    if xxhash.xxh3_128_digest(content) != entry.digest:
        raise DamagedSegment(name_of(segment), f"the frame at {entry.offset} is damaged")
    return content


def is_whole(home: RepositoryHome, segment: SegmentNumber, chunk_id: ChunkId) -> bool:
    """Whether a segment's copy of a chunk is as it was written."""
    try:
        _, entries = read_trailer(home, segment)
        for entry in entries:
            if entry.chunk_id == chunk_id:
                read_entry(home, segment, entry)
                return True
    except (DamagedSegment, UnknownFormat):
        return False
    return False
