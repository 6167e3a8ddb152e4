"""How a segment is laid out, version 1. Pure; see ``docs/format/segment.md``.

Header, frames, one entry per frame, footer. The footer has a fixed size, so that everything can
be found from the end of the file.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum

import xxhash
from attrs import frozen

from obnam.errors import UnknownFormat
from obnam.model.ids import CHUNK_ID_BYTES, ChunkId
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.values import ChunkNumber, Location, SegmentNumber

VERSION = 1
_HEAD_MAGIC = b"obnamseg"
_FOOT_MAGIC = b"obnamend"
_HEADER = struct.Struct(">8sBB6x16s")
_ENTRY = struct.Struct(f">{CHUNK_ID_BYTES}sQQI16s")
_FOOTER = struct.Struct(">8sBB2xI16sQQQ")
_CHECKSUM_BYTES = 16

HEADER_BYTES = _HEADER.size
ENTRY_BYTES = _ENTRY.size
FOOTER_BYTES = _FOOTER.size + _CHECKSUM_BYTES

NO_NUMBER = ChunkNumber(2**64 - 1)
"""Number of a frame that is no chunk of a chunk set: manifests and the store's own parts."""


class SegmentKind(IntEnum):
    """What a segment holds."""

    CHUNKS = 1
    COMMIT = 2
    KEYRING = 3
    REGISTER = 4
    DAMAGE = 5
    COMPACTED = 6


CHUNK_KINDS = (SegmentKind.CHUNKS, SegmentKind.COMPACTED)
"""Kinds of segments that hold chunks: as they were sent, and what compaction kept of those."""


@frozen
class Entry:
    """One frame: its id, number, where its sealed bytes lie in the file, and their xxh3-128."""

    chunk_id: ChunkId
    number: ChunkNumber
    offset: int
    length: int
    digest: bytes


@frozen
class Footer:
    """What the last bytes of a segment say. ``body_end``: offset behind the last frame."""

    kind: int
    repository_id: bytes
    segment: SegmentNumber
    created_ns: int
    body_end: int
    entry_count: int

    @property
    def size_bytes(self) -> int:
        """The size that the whole file must have."""
        return self.body_end + self.entry_count * ENTRY_BYTES + FOOTER_BYTES


def part_id(name: str) -> ChunkId:
    """The id of one of the store's own parts: a zero byte, which no chunk id has, and its name."""
    return ChunkId(b"\0" + name.encode("ascii").ljust(CHUNK_ID_BYTES - 1, b"\0"))


def pack_header(kind: SegmentKind, repository_id: bytes) -> bytes:
    """The first `HEADER_BYTES` bytes."""
    return _HEADER.pack(_HEAD_MAGIC, VERSION, kind, repository_id)


def pack_trailer(footer: Footer, entries: Iterable[Entry]) -> bytes:
    """Everything behind the frames."""
    body = b"".join(
        [_ENTRY.pack(e.chunk_id, e.number, e.offset, e.length, e.digest) for e in entries]
    )
    foot = _FOOTER.pack(
        _FOOT_MAGIC,
        VERSION,
        footer.kind,
        footer.entry_count,
        footer.repository_id,
        footer.segment,
        footer.created_ns,
        footer.body_end,
    )
    covered = body + foot
    return covered + xxhash.xxh3_128_digest(covered)


def unpack_header(data: bytes, segment: SegmentNumber) -> tuple[int, bytes]:
    """Kind and repository id. `DamagedSegment`, `UnknownFormat`."""
    magic, version, kind, repository_id = _HEADER.unpack(data)
    _check_magic(magic, _HEAD_MAGIC, version, segment)
    return kind, repository_id


def unpack_footer(data: bytes, segment: SegmentNumber, size_bytes: int) -> Footer:
    """The footer, of a file of ``size_bytes``. `DamagedSegment`, `UnknownFormat`.

    Its checksum can only be checked together with the entries: `unpack_entries`.
    """
    magic, version, kind, count, repository_id, number, created_ns, body_end = _FOOTER.unpack_from(
        data
    )
    _check_magic(magic, _FOOT_MAGIC, version, segment)
    footer = Footer(kind, repository_id, SegmentNumber(number), created_ns, body_end, count)
    if footer.size_bytes != size_bytes or body_end < HEADER_BYTES:
        raise DamagedSegment(
            name_of(segment), f"has {size_bytes} bytes and says {footer.size_bytes}"
        )
    if number != segment:
        raise DamagedSegment(name_of(segment), f"says that it is segment {name_of(footer.segment)}")
    return footer


def unpack_entries(trailer: bytes, footer: Footer) -> list[Entry]:
    """The entries of the whole trailer, checked. `DamagedSegment`."""
    covered, checksum = trailer[:-_CHECKSUM_BYTES], trailer[-_CHECKSUM_BYTES:]
    if xxhash.xxh3_128_digest(covered) != checksum:
        raise DamagedSegment(name_of(footer.segment), "its trailer does not match its checksum")
    entries = _entries(covered[: footer.entry_count * ENTRY_BYTES])
    if any(e.offset < HEADER_BYTES or e.offset + e.length > footer.body_end for e in entries):
        raise DamagedSegment(name_of(footer.segment), "a frame lies outside of it")
    return entries


def unpack_loosely(tail: bytes) -> list[Entry]:
    """What may be entries at the end of a segment whose trailer does not match its checksum.

    ``tail`` is everything behind its last frame that is of interest. Nothing is checked: they are
    to be compared with what else is known.
    """
    count = max(0, len(tail) - FOOTER_BYTES) // ENTRY_BYTES
    end = len(tail) - FOOTER_BYTES
    return _entries(tail[end - count * ENTRY_BYTES : end]) if count else []


def _entries(rows: bytes) -> list[Entry]:
    return [
        Entry(ChunkId(chunk_id), ChunkNumber(number), offset, length, digest)
        for chunk_id, number, offset, length, digest in _ENTRY.iter_unpack(rows)
    ]


def location_of(segment: SegmentNumber, entry: Entry) -> Location:
    """Where an entry's sealed bytes lie."""
    return Location(segment, entry.offset, entry.length)


def name_of(segment: SegmentNumber) -> str:
    """The name of a segment's file: its number as 16 hexadecimal digits."""
    return f"{segment:016x}"


def _check_magic(magic: bytes, wanted: bytes, version: int, segment: SegmentNumber) -> None:
    if magic != wanted:
        raise DamagedSegment(name_of(segment), "is no segment, or is cut short")
    if version != VERSION:
        raise UnknownFormat(f"segment {name_of(segment)}", str(version), str(VERSION))
