"""What remembers where chunks are: one of the two seams of storage (see `segments`).

SQLite stands behind it now (`obnam_server.store.index.sqlite`); a database server may later.
Everything blocks; nothing here knows of HTTP or of Twisted.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from pyroaring import BitMap64
from zope.interface import Attribute, Interface

from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.messages import GenerationSummary
from obnam_server.store.seams.sessions import ISessionIndex
from obnam_server.store.seams.values import (
    ChunkNumber,
    Damage,
    GenerationRecord,
    KnownSegment,
    Location,
    NumberedChunk,
    Past,
    Placed,
    ScrubPass,
    SegmentNumber,
    SegmentSummary,
)


class IChunkIndex(Interface):
    """Which chunks are stored where. Changes happen within `IIndex.transaction`."""

    def locate(ids: Sequence[ChunkId]) -> dict[ChunkId, Location]:
        """Where those of ``ids`` that are stored and undamaged lie."""

    def numbers(ids: Sequence[ChunkId]) -> dict[ChunkId, ChunkNumber]:
        """The numbers of those of ``ids`` that have one, stored or not."""

    def stored_numbers(ids: Sequence[ChunkId]) -> dict[ChunkId, ChunkNumber]:
        """The numbers of those of ``ids`` that are stored and undamaged."""

    def put(chunks: Sequence[NumberedChunk], kind: int) -> int:
        """Note stored chunks of a segment of this kind; how many of them the index keeps.

        Where a chunk is stored already, a copy made by compaction is kept before one that was
        sent, then the one in the lower segment, then at the lower offset: nobody can replace a
        stored chunk by sending it again.
        """

    def put_wanted(chunks: Sequence[tuple[ChunkId, ChunkNumber]]) -> None:
        """Note chunks that have a number but are not stored yet."""

    def damage(ids: Sequence[ChunkId]) -> None:
        """Note that stored chunks turned out to be damaged: they are missing from now on."""

    def lose(segment: SegmentNumber, from_offset: int) -> int:
        """Note that a segment's chunks that end beyond ``from_offset`` are damaged; how many.

        They keep their numbers, and are missing from now on.
        """

    def all_stored() -> BitMap64:
        """The numbers of all chunks that are stored and undamaged. Reads the whole index."""

    def absent() -> BitMap64:
        """The numbers of all chunks that are not stored, or damaged."""

    def absent_ids(numbers: Sequence[ChunkNumber]) -> list[ChunkId]:
        """The ids of absent chunks, as far as they are known."""

    def put_lost(numbers: Sequence[ChunkNumber]) -> None:
        """Note chunks that a generation needs and that no segment holds; their ids are unknown."""

    def wanted_count() -> int:
        """How many chunks have a number and were never stored."""

    def forget_wanted(needed: BitMap64) -> None:
        """Forget the chunks that were never stored, but for those that are needed."""

    def placed() -> dict[SegmentNumber, Placed]:
        """How much of each segment the index refers to. Reads the whole index."""

    def sizes(numbers: BitMap64) -> Iterator[tuple[ChunkNumber, SegmentNumber, int]]:
        """Number, segment and length (bytes) of those of ``numbers`` that are stored, in order."""

    def move(chunks: Sequence[NumberedChunk]) -> None:
        """Note that stored chunks lie elsewhere now."""

    def remove(numbers: BitMap64) -> None:
        """Forget stored chunks for good; their numbers are gone, too."""

    def gone() -> BitMap64:
        """The numbers that are gone for good. What has a number is stored, absent or gone."""

    def put_gone(numbers: BitMap64) -> None:
        """Note which are gone: these and no others."""

    def damaged_count() -> int:
        """How many chunks were stored once and are damaged or lost."""

    def sealed_bytes(numbers: BitMap64) -> int:
        """The length of the sealed bytes of those of ``numbers`` that are stored and undamaged."""


class IDamageIndex(Interface):
    """Damaged chunks, and how far the scrub has come."""

    def chunks_in(segment: SegmentNumber) -> list[NumberedChunk]:
        """The chunks whose place is in a segment. Reads the whole index."""

    def damaged(first: ChunkNumber, limit: int) -> list[tuple[ChunkNumber, ChunkId | None]]:
        """At most ``limit`` (-1: all) damaged chunks from ``first`` on; ``None``: id unknown."""

    def unrecorded(limit: int) -> list[Damage]:
        """At most ``limit`` damaged chunks that no segment records."""

    def put_recorded(record: SegmentNumber, numbers: Sequence[ChunkNumber]) -> None:
        """Note which segment records that these are damaged."""

    def put_unrecorded(record: SegmentNumber) -> None:
        """Forget that a segment records anything."""

    def put_damage(record: SegmentNumber, found: Sequence[Damage]) -> None:
        """Note what a segment records, unless there is a copy elsewhere."""

    def forget_damaged(numbers: BitMap64) -> None:
        """Forget damaged chunks, for good. (Their numbers are gone: see `put_gone`.)"""

    def recording(record: SegmentNumber) -> int:
        """How many chunks are damaged and recorded by that segment."""

    def leaving() -> list[SegmentNumber]:
        """Damaged segments that are being replaced."""

    def put_leaving(segment: SegmentNumber) -> None:
        """Note that a segment is being replaced."""

    def forget_leaving(segment: SegmentNumber) -> None:
        """It is gone, or stays."""

    def healed_count() -> int:
        """How many damaged chunks were stored again, since the index was made."""

    def scrub_passes() -> list[ScrubPass]:
        """The last pass, and the one before; newest first."""

    def put_scrub_pass(scrub: ScrubPass) -> None:
        """Note how far a pass has come."""

    def put_scrub_problem(segment: SegmentNumber, problem: str | None) -> None:
        """Note what is wrong with a segment; ``None``: nothing."""

    def scrub_problems() -> dict[SegmentNumber, str]:
        """What is wrong with segments that there are."""


class ISegmentIndex(Interface):
    """Which segments are known, and what counts up."""

    def put_segment(summary: SegmentSummary, kind: int, created_ns: int) -> None:
        """Note a finished segment, begun at ``created_ns`` (since the epoch)."""

    def forget_segment(segment: SegmentNumber) -> None:
        """Forget a segment that is gone."""

    def segments() -> dict[SegmentNumber, int]:
        """All known segments, with their sizes in bytes."""

    def chunk_segments() -> list[KnownSegment]:
        """All known segments that hold chunks, in the order of their numbers."""

    def segments_of(kind: int) -> list[SegmentNumber]:
        """All segments of a kind, in their order."""

    def segment_kind(segment: SegmentNumber) -> int | None:
        """The kind of a segment; ``None``: it is not known."""

    def segments_after(segment: SegmentNumber, limit: int) -> list[tuple[SegmentNumber, int, int]]:
        """At most ``limit`` segments with higher numbers, in their order: number, kind, size."""

    def used_bytes() -> int:
        """The sum of their sizes; no matter how many there are, it takes no time."""

    def next_numbers() -> tuple[SegmentNumber, ChunkNumber]:
        """The lowest segment number and chunk number never given."""

    def put_next_numbers(segment: SegmentNumber, chunk: ChunkNumber) -> None:
        """Note them; a lower one than is known changes nothing."""

    def times() -> dict[str, int]:
        """Times that upkeep notes for itself (ns since the epoch); lost with the index."""

    def put_times(times: Mapping[str, int]) -> None:
        """Note some."""


class IGenerationIndex(Interface):
    """Committed generations, and where the keyring lies."""

    def put_generation(record: GenerationRecord, numbers: BitMap64) -> None:
        """Note a generation."""

    def get_generation(generation: GenerationId) -> GenerationRecord | None:
        """One generation, also from the trash."""

    def generation_set(generation: GenerationId) -> BitMap64 | None:
        """The numbers of one generation's chunks; the caller's to change."""

    def list_generations(after_sequence: int, limit: int) -> list[GenerationSummary]:
        """At most ``limit`` generations with higher sequence numbers, oldest first.

        Without those in the trash.
        """

    def list_trash(after_sequence: int, limit: int) -> list[tuple[GenerationSummary, int]]:
        """The same of those in the trash, each with when it was put there (ns since the epoch)."""

    def all_generations() -> list[tuple[GenerationSummary, int | None]]:
        """Every one, oldest first, and when it was put into the trash (ns since the epoch)."""

    def live_set(since: int) -> BitMap64:
        """The numbers of the chunks of all generations from a sequence number on.

        Those in the trash, too.
        """

    def without_generations(numbers: BitMap64, but: Collection[GenerationId]) -> BitMap64:
        """Those of ``numbers`` that no generation has, trash included, but for those of ``but``."""

    def history(client: ClientName, limit: int) -> list[Past]:
        """A client's newest generations that were counted, oldest first, those in the trash, too.

        Takes no time, however large their sets are.
        """

    def stored_bytes() -> list[tuple[int, int]]:
        """When generations were committed (ns since the epoch), oldest first, and what was stored.

        Of those that were counted.
        """

    def last_good() -> dict[ClientName, int]:
        """When the newest generation of each client that is no checkpoint was committed (ns since
        the epoch). Without those in the trash.
        """

    def latest(client: ClientName | None) -> GenerationRecord | None:
        """The newest generation (of one client). It is never in the trash."""

    def generation_in(segment: SegmentNumber) -> GenerationId | None:
        """The generation whose commit lies in a segment."""

    def move_generation(generation: GenerationId, manifest: Location) -> None:
        """Note that the commit of a generation lies elsewhere now."""

    def listed_sets() -> Iterator[tuple[GenerationId, BitMap64]]:
        """The chunks of each generation that is not in the trash, newest first."""

    def all_sets() -> Iterator[tuple[GenerationId, BitMap64]]:
        """The same of every generation, trash included, in no order."""

    def newest(client: ClientName) -> set[GenerationId]:
        """Of one client the newest generation, and the newest that is no checkpoint.

        Without those in the trash.
        """

    def generation_count() -> int:
        """How many there are, without those in the trash."""

    def next_sequence() -> int:
        """The sequence number of the next commit."""

    def put_trash(trashed_ns: Mapping[GenerationId, int]) -> None:
        """Note which generations are in the trash (since when): these and no others."""

    def remove_generations(sequences: BitMap64) -> list[SegmentNumber]:
        """Forget the generations with these sequence numbers; the segments of their commits."""

    def get_register() -> tuple[SegmentNumber, bytes] | None:
        """Where the register lies, and its content; ``None``: there is none yet."""

    def put_register(segment: SegmentNumber, version: int, content: bytes) -> None:
        """Note a register."""

    def put_keyring(location: Location, version: int) -> None:
        """Note where the keyring lies; ``version`` counts its replacements from 1."""

    def get_keyring() -> tuple[Location, int] | None:
        """Where the keyring lies, and its version; ``None``: there is none yet."""


class IIndex(IChunkIndex, IDamageIndex, ISegmentIndex, ISessionIndex, IGenerationIndex):
    """The index of one repository. All of it but sessions can be rebuilt from the segments.

    Reading methods may be called from many threads and see what was committed last; changing
    ones only from within `transaction`, one thread at a time.
    """

    clean = Attribute("Whether it was closed properly before it was opened; false for a new one.")

    def transaction(durable: bool) -> AbstractContextManager[None]:
        """All changes within, or none. `StoreFull`, `StoreFailed`.

        ``durable``: on the disk when this ends. Else a power failure (not a crash of the process)
        may undo it, never in part, and never without what was committed later being undone too.
        """

    def tidy() -> None:
        """WRITER. Give back the disk space that recent changes took, if that can be done now."""

    def close(clean: bool) -> None:
        """Close it, for all threads; ``clean``: it agrees with the segments, as far as is known."""
