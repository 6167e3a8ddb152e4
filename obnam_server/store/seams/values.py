"""What goes through the seams: numbers of segments and chunks, and where things lie."""

from typing import NewType

from attrs import frozen

from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, GenerationId
from obnam.wire.messages import GenerationSummary

SegmentNumber = NewType("SegmentNumber", int)
"""Counts the segments of a repository from 1, in the order in which they were finished."""

ChunkNumber = NewType("ChunkNumber", int)
"""A repository's short name for a chunk id, from 0; given once and never changed."""


@frozen
class SegmentSummary:
    """A finished segment: its number and its size in bytes, header and trailer included."""

    segment: SegmentNumber
    size_bytes: int


@frozen
class KnownSegment:
    """What the index notes of a segment. ``created_ns``: since the epoch, 0: not known."""

    summary: SegmentSummary
    created_ns: int


@frozen
class Placed:
    """How much of a segment the index refers to: chunks, and their sealed bytes."""

    count: int
    size_bytes: int


@frozen
class Location:
    """Where sealed bytes lie: segment, offset from the start of its file, length (bytes)."""

    segment: SegmentNumber
    offset: int
    length: int


@frozen
class NumberedChunk:
    """One stored chunk: its id, its number, and where it lies."""

    chunk_id: ChunkId
    number: ChunkNumber
    location: Location


@frozen
class Counted:
    """What was counted when a generation was committed, against its client's one before.

    ``stored_bytes``: the size of all segments of the repository then, without that of the commit.
    """

    added_count: int
    added_bytes: int
    removed_count: int
    stored_bytes: int


@frozen
class Past:
    """What is known of one generation by figures. ``received_ns``: since the epoch."""

    received_ns: int
    partial: bool
    chunk_count: int
    counted: Counted


@frozen
class GenerationRecord:
    """What the index keeps of one committed generation, apart from its chunk set.

    ``counted``: only on the way in, `IGenerationIndex.history` gives it back. It is ``None`` for
    those that a server made which did not count.
    """

    summary: GenerationSummary
    base: GenerationId | None
    sum: SetSum
    manifest_id: ChunkId
    manifest: Location
    counted: Counted | None = None


@frozen
class Damage:
    """A damaged chunk, and the segment with the damaged copy (``None``: it is not known)."""

    chunk_id: ChunkId
    number: ChunkNumber
    segment: SegmentNumber | None


@frozen
class ScrubPass:
    """One pass of the scrub. ``segment``: the last one checked, 0: none; ``ended_ns`` ``None``: it
    is under way; ``size_bytes``: of segments checked; ``damaged``: chunks found to be damaged.
    """

    began_ns: int
    ended_ns: int | None = None
    segment: SegmentNumber = SegmentNumber(0)
    size_bytes: int = 0
    damaged: int = 0
