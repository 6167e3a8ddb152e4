"""Writing anew what is damaged, from what is sound: the repairs of `checking` and of the scrub.

A segment never changes. So one that is mended is a new one, and the old one is deleted once the
index goes by the new one.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum

import xxhash
from attrs import evolve, frozen
from pyroaring import BitMap64

from obnam.errors import UnknownFormat
from obnam.model.ids import ChunkId
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.messages import BadMessage, GenerationSummary
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.generations.commits import CHUNK_SET, RECEIPT
from obnam_server.store.generations.keyring import KeyringStore
from obnam_server.store.generations.register import RegisterStore
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import (
    ChunkNumber,
    GenerationRecord,
    Location,
    NumberedChunk,
    SegmentNumber,
    SegmentSummary,
)
from obnam_server.store.segments.format import CHUNK_KINDS, HEADER_BYTES, Entry, Footer, SegmentKind
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import (
    RepositoryHome,
    known_or_gone,
    read,
    read_trailer,
    write_frames,
    write_parts,
)
from obnam_server.store.segments.upload import numbered
from obnam_server.store.upkeep.damage import DamageRecords
from obnam_server.store.upkeep.segment_check import entries_without_trailer


class Repair(Enum):
    """What can be done about something that is wrong."""

    NONE = "nothing can be done here"
    RESTART = "the server does it when it is started again"
    FORGET = "its chunks are noted as damaged; the next backups heal them"
    REWRITE = "it is written anew, from what is sound"
    PUT_ROWS = "the index learns of it from the segment"
    PUT_LOST = "they are noted as lost"


@frozen
class Mending:
    """Repairs of one repository. All of them look first whether there is still need."""

    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _keyring: KeyringStore
    _register: RegisterStore
    _records: DamageRecords
    _clock: Callable[[], int]

    def repair_of(self, segment: SegmentNumber, kind: int) -> Repair:
        """What can be done about a segment whose trailer or parts are damaged. Any thread."""
        try:
            self._home.segments.size_bytes(self._home.name, segment)
        except DamagedSegment:
            return (
                Repair.NONE
                if kind in (SegmentKind.COMMIT, SegmentKind.KEYRING)
                else (Repair.FORGET if kind in CHUNK_KINDS else Repair.REWRITE)
            )
        if kind == SegmentKind.COMMIT and self._sound_parts(segment) is None:
            return Repair.NONE
        return Repair.REWRITE

    def forget(self, segment: SegmentNumber) -> bool:
        """WRITER. A segment of chunks is lost: note its chunks as damaged."""
        with suppress(DamagedSegment):
            self._home.segments.let_go(self._home.name, segment)
            return False  # It is there.
        with self._index.transaction(durable=True):
            count = self._index.lose(segment, 0)
            known = self._index.segment_kind(segment) is not None
            self._index.forget_segment(segment)
        self._records.record()
        return known or count > 0

    def rewrite(self, segment: SegmentNumber) -> bool:
        """WRITER. Write a segment anew from what is sound. False: it is not, or need not be.

        `StoreFull`, `StoreFailed`.
        """
        kind = self._index.segment_kind(segment)
        if kind is None:
            return False
        with self._index.transaction(durable=True):
            self._index.put_leaving(segment)
        done = self._rewrite(segment, kind)
        with self._index.transaction(durable=False):
            self._index.forget_leaving(segment)
        return done

    def _rewrite(self, segment: SegmentNumber, kind: int) -> bool:
        if kind == SegmentKind.REGISTER:
            found = self._index.get_register()
            if found is not None and found[0] == segment:
                self._register.put(self._register.get(), self._clock())
                return True
        elif kind == SegmentKind.KEYRING:
            keyring = self._index.get_keyring()
            with suppress(DamagedSegment):
                if keyring is not None and keyring[0].segment == segment:
                    self._keyring.renew()
                    return True
        elif kind == SegmentKind.DAMAGE:
            self._records.forget(segment)
            return True
        elif kind == SegmentKind.COMMIT:
            return self._rewrite_commit(segment)
        elif kind in CHUNK_KINDS and not self._has_trailer(segment):
            self._rewrite_chunks(segment)
            return True
        return False

    def put_rows(
        self,
        footer: Footer,
        lacking: Sequence[NumberedChunk],
        elsewhere: Sequence[NumberedChunk],
    ) -> bool:
        """WRITER. Let the index go by a segment whose trailer is sound."""
        summary = SegmentSummary(footer.segment, footer.size_bytes)
        with self._index.transaction(durable=True):
            self._index.damage([chunk.chunk_id for chunk in elsewhere])
            self._index.put_segment(summary, footer.kind, footer.created_ns)
            self._index.put([*lacking, *elsewhere], footer.kind)
            highest = max((chunk.number for chunk in lacking), default=ChunkNumber(-1))
            self._index.put_next_numbers(footer.segment, ChunkNumber(highest + 1))
        return True

    def put_lost(self, numbers: BitMap64) -> None:
        """WRITER. Note chunks that generations need, and that the index knows nothing of."""
        with self._index.transaction(durable=True):
            self._index.put_lost([ChunkNumber(number) for number in numbers])
            self._index.put_gone(self._index.gone() - numbers)

    def _has_trailer(self, segment: SegmentNumber) -> bool:
        try:
            read_trailer(self._home, segment)
        except (DamagedSegment, UnknownFormat):
            return False
        return True

    # Segments of chunks

    def _rewrite_chunks(self, segment: SegmentNumber) -> None:
        """What the index refers to, and is not damaged for sure, goes into a new segment."""
        good: list[tuple[Entry, bytes]] = []
        bad: list[ChunkId] = []
        for entry in entries_without_trailer(self._home, self._index, segment):
            try:
                sealed = read(self._home, Location(segment, entry.offset, entry.length))
            except DamagedSegment:
                bad.append(entry.chunk_id)
                continue
            digest = xxhash.xxh3_128_digest(sealed)
            if entry.digest and digest != entry.digest:
                bad.append(entry.chunk_id)
            else:
                good.append((evolve(entry, digest=digest), sealed))
        if good:
            self._replace_chunks(segment, good, bad)
        else:
            self._forget_old(segment, bad)
        self._records.record()
        self._home.segments.delete(self._home.name, [segment])

    def _replace_chunks(
        self, old: SegmentNumber, good: Sequence[tuple[Entry, bytes]], bad: Sequence[ChunkId]
    ) -> None:
        now_ns, kind = self._clock(), SegmentKind.COMPACTED
        written, entries = write_frames(self._home, kind, self._numbers.new_segment(), now_ns, good)
        with known_or_gone(written), self._index.transaction(durable=True):
            self._index.put_segment(written.summary, kind, now_ns)
            self._index.move(numbered(written.summary.segment, entries))
            self._index.damage(bad)
            self._index.forget_segment(old)
            self._index.put_next_numbers(*self._numbers.next_numbers())

    def _forget_old(self, segment: SegmentNumber, bad: Sequence[ChunkId]) -> None:
        with self._index.transaction(durable=True):
            self._index.damage(bad)
            self._index.forget_segment(segment)

    # Commits

    def _rewrite_commit(self, segment: SegmentNumber) -> bool:
        parts = self._sound_parts(segment)
        if parts is None:
            return False
        record, contents = parts
        now_ns = record.summary.receipt.received_ns
        written = write_parts(
            self._home, SegmentKind.COMMIT, self._numbers.new_segment(), now_ns, contents
        )
        with known_or_gone(written), self._index.transaction(durable=True):
            self._index.put_segment(written.summary, SegmentKind.COMMIT, now_ns)
            self._index.move_generation(record.summary.receipt.generation, written.places[0])
            self._index.forget_segment(segment)
            self._index.put_next_numbers(*self._numbers.next_numbers())
        self._home.segments.delete(self._home.name, [segment])
        return True

    def _sound_parts(
        self, segment: SegmentNumber
    ) -> tuple[GenerationRecord, dict[ChunkId, bytes]] | None:
        """The parts of a commit, if they say what the index says; ``None``: they do not.

        The manifest is the client's to check. The chunk set comes from the index if need be.
        """
        generation = self._index.generation_in(segment)
        record = None if generation is None else self._index.get_generation(generation)
        numbers = None if generation is None else self._index.generation_set(generation)
        if record is None or numbers is None:
            return None
        try:
            manifest = read(self._home, record.manifest)
            # The receipt lies behind it.
            at = record.manifest.offset + record.manifest.length + FRAME_HEADER_BYTES
            head = read(self._home, Location(segment, at - FRAME_HEADER_BYTES, FRAME_HEADER_BYTES))
            length = int.from_bytes(head[-4:], "big")
            if record.manifest.offset != HEADER_BYTES + FRAME_HEADER_BYTES or (
                head != pack_header(RECEIPT, length)
            ):
                return None
            receipt = read(self._home, Location(segment, at, length))
            if GenerationSummary.from_json(json.loads(receipt)) != record.summary:
                return None
        except (DamagedSegment, BadMessage, ValueError):
            return None
        numbers.run_optimize()
        contents = {record.manifest_id: manifest, RECEIPT: receipt, CHUNK_SET: numbers.serialize()}
        return record, contents
