"""The history of a large repository, played through in memory (see `benchmarks.large_data`)."""

import random
from array import array
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen
from pyroaring import BitMap64

from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam.wire.messages import GenerationSummary, Receipt
from obnam.wire.receipts import HASH_BYTES, SIGNATURE_BYTES, Countersignature
from obnam_server.store.generations.register import Mark
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.seams.values import GenerationRecord, Location, SegmentNumber
from obnam_server.store.segments.format import ENTRY_BYTES, FOOTER_BYTES, HEADER_BYTES, SegmentKind
from obnam_server.store.segments.parts import RepositoryHome, write_parts

TRASHED, EXPUNGED = 10, 10
"""Generations of each client in the trash, and gone for good: one a day went each of these ways."""

PUSHES_AFTER_DAYS = 7
"""A generation takes no older one's place before: the minimum age, and what days are cut to."""

SEGMENT_CHUNKS = 55
LENGTHS = (100_000, 500_000)
"""Sealed bytes of a chunk, from and to: together about as much as one upload."""

REPLACED = 0.01
SHARED = 0.04
"""Part of a client's first backup that all clients have."""

HOUR_NS = 3600 * 1_000_000_000
DAY_NS = 24 * HOUR_NS
GENERATIONS_AT_ONCE = 5000
MANIFEST_BYTES = 20_000

_MULTIPLIER = 0x9E3779B1
"""Odd: its multiples, modulo a power of two, say in which order numbers have their ids."""


@frozen
class Shape:
    """How large. ``chunks``: in the repository; ``generations``: of each client, standing."""

    clients: int = 1000
    generations: int = 100
    chunks: int = 10_000_000

    @property
    def kept(self) -> int:
        """Generations of each client that the index knows."""
        return self.generations + TRASHED

    @property
    def rounds(self) -> int:
        """Generations that each client ever made."""
        return self.kept + EXPUNGED

    @property
    def first(self) -> int:
        """Chunks of a client's first generation, and of each later one."""
        return round(self.chunks / self.clients / (1 + REPLACED * (self.rounds - 1)))

    @property
    def replaced(self) -> int:
        """Chunks that a generation replaces."""
        return max(1, round(self.first * REPLACED))

    @property
    def policy(self) -> dict[str, object]:
        """A retention policy by which each day one generation goes, and one is expunged."""
        return {"daily": max(1, self.generations - PUSHES_AFTER_DAYS), "trash_days": TRASHED}

    def chunk_id(self, number: int) -> ChunkId:
        """The id of the chunk with this number."""
        place = number * _MULTIPLIER % (1 << self._bits)
        filler = place * place * _MULTIPLIER % (1 << 192)
        top = place << (64 - self._bits)
        return ChunkId(b"\x01" + top.to_bytes(8, "big") + filler.to_bytes(24, "big"))

    def in_order_of_ids(self, below: int) -> Iterator[int]:
        """The numbers below a limit, such that their ids ascend."""
        modulus = 1 << self._bits
        inverse = pow(_MULTIPLIER, -1, modulus)
        numbers = (place * inverse % modulus for place in range(modulus))
        return (number for number in numbers if number < below)

    @property
    def _bits(self) -> int:
        return self.chunks.bit_length() + 1


@define
class SimulatedClient:
    """One client as its history goes on."""

    name: ClientName
    numbers: list[int] = field(factory=list)
    chunks: BitMap64 = field(factory=BitMap64)
    xor: int = 0
    newest: GenerationId | None = None


@define
class History:
    """Plays it. Chunks by their numbers: where each lies, and how long it is."""

    shape: Shape
    home: RepositoryHome
    index: SqliteIndex
    probes: frozenset[ClientName]
    now_ns: int
    segment_of: "array[int]" = field(factory=lambda: array("I"))
    offset_of: "array[int]" = field(factory=lambda: array("I"))
    length_of: "array[int]" = field(factory=lambda: array("I"))
    segments: list[tuple[int, int, int, int]] = field(factory=list)
    trash: dict[GenerationId, Mark] = field(factory=dict)
    _random: random.Random = field(factory=lambda: random.Random(1))
    _sequence: int = 0
    _common: list[int] = field(factory=list)
    _pending: list[tuple[GenerationRecord, BitMap64]] = field(factory=list)

    def play(self, clients: Sequence[SimulatedClient]) -> None:
        """From the first generation to the newest."""
        shape = self.shape
        self._upload(shape.first, self._received_ns(0))  # the client of which nothing is left
        for round_number in range(shape.rounds):
            received_ns = self._received_ns(round_number)
            for client in clients:
                if not round_number:
                    self._begin(client, received_ns)
                else:
                    self._replace(client, received_ns)
                self._commit(client, round_number, received_ns)
        self._flush()

    def _received_ns(self, round_number: int) -> int:
        return self.now_ns - (self.shape.rounds - round_number + 1) * DAY_NS

    def _begin(self, client: SimulatedClient, received_ns: int) -> None:
        common = self._common
        own = self._upload(self.shape.first - len(common), received_ns)
        client.numbers = [*common, *own]
        client.chunks = BitMap64(client.numbers)
        if not common:
            self._common = own[: round(self.shape.first * SHARED)]

    def _replace(self, client: SimulatedClient, received_ns: int) -> None:
        numbers = client.numbers
        gone = []
        for _ in range(min(self.shape.replaced, len(numbers))):
            place = self._random.randrange(len(numbers))
            numbers[place], numbers[-1] = numbers[-1], numbers[place]
            gone.append(numbers.pop())
        fresh = self._upload(len(gone), received_ns)
        numbers += fresh
        client.chunks -= BitMap64(gone)
        client.chunks |= BitMap64(fresh)

    def _upload(self, count: int, received_ns: int) -> list[int]:
        """Chunks with the next numbers, in as many segments as they take."""
        first = len(self.segment_of)
        for start in range(0, count, SEGMENT_CHUNKS):
            here = min(SEGMENT_CHUNKS, count - start)
            segment, at = len(self.segments) + 1, HEADER_BYTES
            for _ in range(here):
                length = self._random.randint(*LENGTHS)
                at += FRAME_HEADER_BYTES
                self.segment_of.append(segment)
                self.offset_of.append(at)
                self.length_of.append(length)
                at += length
            self._segment(SegmentKind.CHUNKS, at + here * ENTRY_BYTES + FOOTER_BYTES, received_ns)
        return list(range(first, first + count))

    def _segment(self, kind: SegmentKind, size_bytes: int, created_ns: int) -> SegmentNumber:
        self.segments.append((len(self.segments) + 1, kind, size_bytes, created_ns))
        return SegmentNumber(len(self.segments))

    def _commit(self, client: SimulatedClient, round_number: int, received_ns: int) -> None:
        self._sequence += 1
        generation = GenerationId(f"{self._sequence:032x}")
        previous, client.newest = client.newest, generation
        if round_number < EXPUNGED:
            return
        if round_number < EXPUNGED + TRASHED:
            at_ns = self.now_ns - (EXPUNGED + TRASHED - round_number) * DAY_NS - 2 * HOUR_NS
            self.trash[generation] = Mark(at_ns, "retention", "no rule of the policy keeps it")
        chunks = BitMap64(client.chunks)
        chunks.run_optimize()
        manifest_id = ChunkId(b"\x01" + self._sequence.to_bytes(32, "big"))
        signed = Countersignature(
            self._random.randbytes(HASH_BYTES), manifest_id, self._random.randbytes(SIGNATURE_BYTES)
        )
        total = SetSum(len(chunks), 0)
        if client.name in self.probes and round_number == self.shape.rounds - 1:
            total = SetSum().add(self.shape.chunk_id(number) for number in chunks)
            manifest = self._real_manifest(manifest_id, received_ns)
        else:
            size_bytes = MANIFEST_BYTES + len(chunks.serialize()) + 1000
            segment = self._segment(SegmentKind.COMMIT, size_bytes, received_ns)
            manifest = Location(segment, HEADER_BYTES + FRAME_HEADER_BYTES, MANIFEST_BYTES)
        record = GenerationRecord(
            GenerationSummary(
                Receipt(generation, self._sequence, received_ns, signed),
                client.name,
                previous,
                False,
                len(chunks),
            ),
            previous,
            total,
            manifest_id,
            manifest,
        )
        self._pending.append((record, chunks))
        if len(self._pending) == GENERATIONS_AT_ONCE:
            self._flush()

    def _real_manifest(self, manifest_id: ChunkId, received_ns: int) -> Location:
        segment = SegmentNumber(len(self.segments) + 1)
        parts = {manifest_id: bytes(MANIFEST_BYTES)}
        written = write_parts(self.home, SegmentKind.COMMIT, segment, received_ns, parts)
        self._segment(SegmentKind.COMMIT, written.summary.size_bytes, received_ns)
        return written.places[0]

    def _flush(self) -> None:
        with self.index.transaction(durable=False):
            for record, chunks in self._pending:
                self.index.put_generation(record, chunks)
        self.index.tidy()
        self._pending.clear()
