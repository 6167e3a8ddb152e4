"""What opening a repository finds out: segments that the index does not know, and the reverse.

Segments are the truth. One that the index does not know was finished right before a crash, or the
index is older than they are, or empty: it is adopted. Nothing here gives up on one bad segment:
what is wrong is put into words and the rest goes on.
"""

from collections.abc import Collection, Mapping, Sequence

from attrs import define, field
from pyroaring import BitMap64

from obnam.errors import UnknownFormat
from obnam.model.ids import ChunkId
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.generations.commits import read_commit, read_sequence
from obnam_server.store.generations.keyring import read_keyring
from obnam_server.store.generations.register import Register, enter, read_register
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import (
    ChunkNumber,
    GenerationRecord,
    NumberedChunk,
    SegmentNumber,
    SegmentSummary,
)
from obnam_server.store.segments.format import CHUNK_KINDS, Entry, Footer, SegmentKind, name_of
from obnam_server.store.segments.parts import RepositoryHome, is_whole, read_trailer
from obnam_server.store.segments.upload import numbered
from obnam_server.store.upkeep.damage import read_damage

_SEGMENTS_PER_TRANSACTION = 64
"""Adopted at a time, so that a rebuild neither waits for the disk at each nor piles up changes."""


@define(eq=False)
class Recovery:
    """One repository being made whole. ``problems``: one line each, for the server's log.

    ``adopted``: the sequence numbers of commits that the index did not know.
    """

    _home: RepositoryHome
    _index: IIndex
    problems: list[str] = field(init=False, factory=list)
    adopted: list[int] = field(init=False, factory=list)
    _commits: list[tuple[Footer, Sequence[Entry]]] = field(init=False, factory=list)
    _replaced: list[SegmentNumber] = field(init=False, factory=list)

    def run(self) -> list[str]:
        """Do it; what is wrong with the repository. `StoreFull`, `StoreFailed`."""
        known = self._index.segments()
        self._let_leave(known.keys())
        on_disk = set(self._home.segments.list(self._home.name))
        if not self._index.clean:
            self._check_sizes({n: size for n, size in known.items() if n in on_disk})
        self._adopt(sorted(on_disk - known.keys()))
        # After adopting: a copy elsewhere may have what a lost segment had.
        for segment in sorted(known.keys() - on_disk):
            self._lost(segment)
        if on_disk - known.keys() or not self._index.clean:
            self._account_for_numbers()
        return self.problems

    def _account_for_numbers(self) -> None:
        """Whatever number was given and is neither stored nor absent is gone."""
        _, below = self._index.next_numbers()
        given = BitMap64(range(below))
        with self._index.transaction(durable=False):
            self._index.put_gone(given - self._index.all_stored() - self._index.absent())

    def _let_leave(self, known: Collection[SegmentNumber]) -> None:
        """Delete what was replaced when the crash came."""
        for segment in self._index.leaving():
            if segment not in known:
                self._home.segments.delete(self._home.name, [segment])
            with self._index.transaction(durable=False):
                self._index.forget_leaving(segment)

    def _note(self, footer: Footer) -> None:
        """Let the index know the segment."""
        summary = SegmentSummary(footer.segment, footer.size_bytes)
        self._index.put_segment(summary, footer.kind, footer.created_ns)

    def _due(self) -> int:
        """The lowest sequence number that the next commit may have."""
        newest = self._index.latest(None)
        return 1 if newest is None else newest.summary.receipt.sequence + 1

    def _check_sizes(self, known: dict[SegmentNumber, int]) -> None:
        for segment, size_bytes in known.items():
            try:
                found = self._home.segments.size_bytes(self._home.name, segment)
            except DamagedSegment as error:
                self.problems.append(str(error))
                continue
            if found != size_bytes:
                with self._index.transaction(durable=True):
                    count = self._index.lose(segment, found)
                self.problems.append(
                    f"segment {name_of(segment)}: has {found} bytes instead of {size_bytes}; "
                    f"{count} chunks in it are damaged"
                )

    def _lost(self, segment: SegmentNumber) -> None:
        with self._index.transaction(durable=True):
            count = self._index.lose(segment, 0)
            self._index.forget_segment(segment)
        self.problems.append(f"segment {name_of(segment)}: is lost, and {count} chunks with it")

    def _adopt(self, segments: Sequence[SegmentNumber]) -> None:
        for first in range(0, len(segments), _SEGMENTS_PER_TRANSACTION):
            with self._index.transaction(durable=False):
                for segment in segments[first : first + _SEGMENTS_PER_TRANSACTION]:
                    self._adopt_one(segment)
        # Commits last, when all chunks are known, and which generations are gone for good.
        if self._commits:
            found = self._index.get_register()
            register = Register() if found is None else Register.decode(found[1])
            stored = self._index.all_stored()
            # In the order of the commits: one that was written anew has a high number.
            self._commits.sort(key=lambda found: read_sequence(self._home, *found))
            with self._index.transaction(durable=True):
                for footer, entries in self._commits:
                    self._adopt_or_report(footer, entries, stored, register)
                self._index.put_trash({g: mark.at_ns for g, mark in register.trash.items()})
        self._home.segments.delete(self._home.name, self._replaced)

    def _adopt_one(self, segment: SegmentNumber) -> None:
        # Its number is used up, whatever is in it.
        self._index.put_next_numbers(SegmentNumber(segment + 1), ChunkNumber(0))
        try:
            footer, entries = read_trailer(self._home, segment)
            if footer.kind in CHUNK_KINDS:
                self._adopt_chunks(footer, entries)
            elif footer.kind == SegmentKind.COMMIT:
                self._commits.append((footer, entries))
            elif footer.kind == SegmentKind.KEYRING:
                self._adopt_keyring(footer, entries)
            elif footer.kind == SegmentKind.REGISTER:
                self._adopt_register(footer, entries)
            elif footer.kind == SegmentKind.DAMAGE:
                self._adopt_damage(footer, entries)
            else:
                self.problems.append(
                    f"segment {name_of(segment)}: is of the unknown kind {footer.kind}"
                )
        except (DamagedSegment, UnknownFormat) as error:
            self.problems.append(str(error))

    def _adopt_chunks(self, footer: Footer, entries: Sequence[Entry]) -> None:
        chunks = numbered(footer.segment, entries)
        ids = [chunk.chunk_id for chunk in chunks]
        fitting = self._of_newest_numbers(chunks, self._index.numbers(ids))
        self._drop_bad_copies(fitting)
        self._index.put(fitting, footer.kind)
        self._note(footer)
        highest = max((c.number for c in fitting), default=ChunkNumber(-1))
        self._index.put_next_numbers(footer.segment, ChunkNumber(highest + 1))

    def _of_newest_numbers(
        self, chunks: Sequence[NumberedChunk], known: Mapping[ChunkId, ChunkNumber]
    ) -> list[NumberedChunk]:
        """A chunk that was collected and came again has a higher number; nothing that is live has
        the lower one. Copies that still have it are as good as not there."""
        older = {
            c.chunk_id: known[c.chunk_id]
            for c in chunks
            if c.chunk_id in known and known[c.chunk_id] < c.number
        }
        self._index.remove(BitMap64(self._index.stored_numbers(list(older)).values()))
        self._index.forget_damaged(BitMap64(older.values()))
        left = self._index.numbers(list(older))
        return [
            c
            for c in chunks
            if known.get(c.chunk_id, c.number) == c.number
            or (c.chunk_id in older and c.chunk_id not in left)
        ]

    def _drop_bad_copies(self, chunks: Sequence[NumberedChunk]) -> None:
        """A second copy of a chunk was stored because of a race, or because the first one was
        damaged: which of the two is not written anywhere, so it is looked at."""
        places = self._index.locate([chunk.chunk_id for chunk in chunks])
        self._index.damage(
            [
                chunk_id
                for chunk_id, place in places.items()
                if not is_whole(self._home, place.segment, chunk_id)
            ]
        )

    def _adopt_keyring(self, footer: Footer, entries: Sequence[Entry]) -> None:
        location, version = read_keyring(self._home, footer.segment, entries)
        known = self._index.get_keyring()
        if known is not None and known[1] > version:
            # Replaced, and to be removed when the crash came.
            self._replaced.append(footer.segment)
            return
        if known is not None:
            self._index.forget_segment(known[0].segment)
            self._replaced.append(known[0].segment)
        self._note(footer)
        self._index.put_keyring(location, version)

    def _adopt_register(self, footer: Footer, entries: Sequence[Entry]) -> None:
        register, content = read_register(self._home, footer.segment, entries)
        known = self._index.get_register()
        if known is not None and Register.decode(known[1]).version > register.version:
            self._replaced.append(footer.segment)
            return
        self._note(footer)
        self._replaced += enter(self._index, register, footer.segment, content)

    def _adopt_damage(self, footer: Footer, entries: Sequence[Entry]) -> None:
        found = read_damage(self._home, footer.segment, entries)
        numbers = self._index.numbers([each.chunk_id for each in found])
        fitting = [each for each in found if numbers.get(each.chunk_id, each.number) == each.number]
        self._note(footer)
        self._index.put_damage(footer.segment, fitting)
        highest = max((each.number for each in fitting), default=ChunkNumber(-1))
        self._index.put_next_numbers(footer.segment, ChunkNumber(highest + 1))

    def _adopt_or_report(
        self,
        footer: Footer,
        entries: Sequence[Entry],
        stored: BitMap64,
        register: Register,
    ) -> None:
        segment = footer.segment
        try:
            record, numbers = read_commit(self._home, segment, entries)
        except DamagedSegment as error:
            self.problems.append(str(error))
            return
        receipt = record.summary.receipt
        if receipt.sequence in register.expunged:
            # To be removed when the crash came.
            self._replaced.append(segment)
            return
        if self._is_second(footer, record):
            return
        due = self._due()
        if receipt.sequence < due:
            self.problems.append(
                f"segment {name_of(segment)}: commit {receipt.sequence} is there already"
            )
            return
        lost = BitMap64(range(due, receipt.sequence)) - register.expunged
        if lost:
            self.problems.append(
                f"{len(lost)} commits, {lost.min()} to {lost.max()}, are lost, before segment "
                f"{name_of(segment)}"
            )
        lacking = numbers - stored
        if lacking:
            self._index.put_lost([ChunkNumber(number) for number in lacking])
            self._index.put_next_numbers(segment, ChunkNumber(lacking.max() + 1))
            self.problems.append(f"generation {receipt.generation}: lacks {len(lacking)} chunks")
        self._note(footer)
        self._index.put_generation(record, numbers)
        self.adopted.append(receipt.sequence)

    def _is_second(self, footer: Footer, record: GenerationRecord) -> bool:
        """Whether a commit is there already: one of the two was to replace the other."""
        generation = record.summary.receipt.generation
        known = self._index.get_generation(generation)
        if known is None or (known.summary, known.sum) != (record.summary, record.sum):
            return False
        old = known.manifest.segment
        try:
            read_commit(self._home, old, read_trailer(self._home, old)[1])
            self._replaced.append(footer.segment)
        except (DamagedSegment, UnknownFormat):
            self._note(footer)
            self._index.move_generation(generation, record.manifest)
            self._index.forget_segment(old)
            self._replaced.append(old)
        return True
