"""Do segments, index and generations say the same? What differs is found, and can be repaired.

Reads trailers and commits, not the chunks themselves: that is the scrub's work. What is found may
have been overtaken by the time it is repaired, so every repair looks again.
"""

from collections.abc import Iterator, Sequence

from attrs import evolve, frozen
from pyroaring import BitMap64

from obnam.errors import UnknownFormat
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.generations.commits import read_commit
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import ChunkNumber, NumberedChunk, SegmentNumber
from obnam_server.store.segments.format import (
    CHUNK_KINDS,
    NO_NUMBER,
    Entry,
    Footer,
    SegmentKind,
    name_of,
)
from obnam_server.store.segments.parts import RepositoryHome, read_trailer
from obnam_server.store.segments.upload import numbered
from obnam_server.store.upkeep.mending import Mending, Repair


@frozen
class Finding:
    """Something that is not as it should be. ``what``: a segment, a generation, or a file;
    ``segment``: where, if it is one; ``repaired``: it was, just now.
    """

    what: str
    problem: str
    repair: Repair = Repair.NONE
    segment: SegmentNumber | None = None
    repaired: bool = False

    def __str__(self) -> str:
        done = "repaired: " if self.repaired else ""
        return f"{self.what}: {self.problem} ({done}{self.repair.value})"


@frozen
class Checking:
    """The check of one repository."""

    _home: RepositoryHome
    _index: IIndex
    _mending: Mending

    def find(self) -> Iterator[Finding]:
        """Everything that is wrong, one after another. Any thread. `StoreFailed`."""
        for name in self._home.segments.strays(self._home.name):
            yield Finding(f"file {name}", "is none of ours")
        unknown = set(self._home.segments.list(self._home.name)) - self._index.segments().keys()
        for segment, kind, size_bytes in self._index.segments_after(SegmentNumber(0), -1):
            yield from self._segment(segment, kind, size_bytes)
        yield from self._placed_nowhere()
        yield from self._generations()
        # Looked at again: an upload's segment is there before the index knows it.
        for segment in sorted(unknown - self._index.segments().keys()):
            yield self._unknown(segment)

    def repair(self, finding: Finding) -> bool:
        """WRITER. Repair what was found, if that can be done, and is still so. `StoreFull`."""
        segment = finding.segment
        if finding.repair is Repair.PUT_LOST:
            return self._put_lost()
        if segment is None:
            return False
        match finding.repair:
            case Repair.FORGET:
                return self._mending.forget(segment)
            case Repair.REWRITE:
                return self._mending.rewrite(segment)
            case Repair.PUT_ROWS:
                return self._put_rows(segment)
        return False

    def run(self, *, repair: bool) -> list[Finding]:
        """All findings; with ``repair`` what can be repaired is (WRITER).

        Beside a running server: `obnam_server.upkeep.check`.
        """
        found = list(self.find())
        if repair:
            found = [evolve(each, repaired=self.repair(each)) for each in found]
        return found

    def _unknown(self, segment: SegmentNumber) -> Finding:
        try:
            read_trailer(self._home, segment)
        except (DamagedSegment, UnknownFormat) as error:
            return _of(segment, f"is not known, and cannot be read ({_problem(error)})")
        return _of(segment, "is not known", Repair.RESTART)

    def _segment(self, segment: SegmentNumber, kind: int, size_bytes: int) -> Iterator[Finding]:
        try:
            found = self._home.segments.size_bytes(self._home.name, segment)
            footer, entries = read_trailer(self._home, segment)
        except (DamagedSegment, UnknownFormat) as error:
            if self._index.segment_kind(segment) is None:
                return  # It was replaced meanwhile.
            # One of another version is left alone.
            is_damaged = isinstance(error, DamagedSegment)
            repair = self._mending.repair_of(segment, kind) if is_damaged else Repair.NONE
            yield _of(segment, _problem(error), repair)
            return
        if found != size_bytes:
            yield _of(segment, f"has {found} bytes, and not {size_bytes}", Repair.PUT_ROWS)
        if footer.kind != kind:
            yield _of(segment, f"is of kind {footer.kind}, and not {kind}", Repair.PUT_ROWS)
        elif kind in CHUNK_KINDS:
            lacking, elsewhere = self._rows(footer, entries)
            if lacking:
                yield _of(segment, f"{len(lacking)} chunks are not known", Repair.PUT_ROWS)
            if elsewhere:
                problem = f"{len(elsewhere)} chunks do not lie where the index says"
                yield _of(segment, problem, Repair.PUT_ROWS)
        elif kind == SegmentKind.COMMIT:
            yield from self._commit(footer, entries)

    def _rows(
        self, footer: Footer, entries: Sequence[Entry]
    ) -> tuple[list[NumberedChunk], list[NumberedChunk]]:
        """Chunks that the index has forgotten, and those that it looks for in a wrong place."""
        chunks = numbered(footer.segment, [e for e in entries if e.number != NO_NUMBER])
        numbers = self._index.numbers([chunk.chunk_id for chunk in chunks])
        gone = self._index.gone()
        lacking = [
            chunk for chunk in chunks if chunk.chunk_id not in numbers and chunk.number not in gone
        ]
        offsets = {(chunk.chunk_id, chunk.location) for chunk in chunks}
        places = self._index.locate([chunk.chunk_id for chunk in chunks])
        elsewhere = [
            chunk
            for chunk in chunks
            if (place := places.get(chunk.chunk_id)) is not None
            and place.segment == footer.segment
            and (chunk.chunk_id, place) not in offsets
        ]
        return lacking, elsewhere

    def _put_rows(self, segment: SegmentNumber) -> bool:
        if self._index.segment_kind(segment) is None:
            return False  # It was replaced meanwhile, and is only waiting to be deleted.
        try:
            footer, entries = read_trailer(self._home, segment)
        except (DamagedSegment, UnknownFormat):
            return False
        lacking, elsewhere = self._rows(footer, entries) if footer.kind in CHUNK_KINDS else ([], [])
        return self._mending.put_rows(footer, lacking, elsewhere)

    def _commit(self, footer: Footer, entries: Sequence[Entry]) -> Iterator[Finding]:
        segment = footer.segment
        generation = self._index.generation_in(segment)
        if generation is None:
            if self._index.segment_kind(segment) is not None:
                yield _of(segment, "is a commit that the index lacks", Repair.RESTART)
            return
        try:
            record, numbers = read_commit(self._home, segment, entries)
        except DamagedSegment as error:
            if self._index.segment_kind(segment) is not None:
                problem = f"{error.problem}: the commit of generation {generation}"
                yield _of(segment, problem, self._mending.repair_of(segment, footer.kind))
            return
        known = self._index.get_generation(generation)
        known_set = self._index.generation_set(generation)
        if known is None or known_set is None:
            return  # It was expunged meanwhile.
        same = (
            known.summary == record.summary
            and known.sum == record.sum
            and known.manifest_id == record.manifest_id
            and known.manifest == record.manifest
            and known_set == numbers
        )
        if not same:
            yield Finding(
                f"generation {generation}",
                f"the index says other things of it than its segment {name_of(segment)}; "
                f"make the index anew: obnam-server rebuild-index",
            )

    def _placed_nowhere(self) -> Iterator[Finding]:
        lost = self._index.placed().keys() - self._index.segments().keys()
        if lost:
            # Looked at again: they may have been compacted away between the two.
            lost &= self._index.placed().keys()
        for segment in sorted(lost):
            yield _of(segment, "has chunks, and is not known", Repair.FORGET)

    def _generations(self) -> Iterator[Finding]:
        missing, hurt = self._unknown_numbers(), self._damaged()
        for summary, _ in self._index.all_generations():
            generation = summary.receipt.generation
            numbers = self._index.generation_set(generation)
            if numbers is None:
                continue
            if len(numbers) != summary.chunk_count:
                problem = f"its set has {len(numbers)} chunks, and not {summary.chunk_count}"
                yield Finding(f"generation {generation}", problem)
            if lacking := numbers & missing:
                problem = f"the index does not know {len(lacking)} of its chunks"
                yield Finding(f"generation {generation}", problem, Repair.PUT_LOST)
            if damaged := numbers & hurt:
                problem = f"{len(damaged)} of its chunks are damaged or lost"
                yield Finding(f"generation {generation}", problem)

    def _unknown_numbers(self) -> BitMap64:
        """Numbers in generations that are neither stored nor absent."""
        missing = self._index.live_set(1)
        # Twice: chunks go from one table to the other, and back.
        for _ in range(2):
            if missing:
                missing -= self._index.all_stored()
                missing -= self._index.absent()
        return missing

    def _damaged(self) -> BitMap64:
        return BitMap64(number for number, _ in self._index.damaged(ChunkNumber(0), -1))

    def _put_lost(self) -> bool:
        missing = self._unknown_numbers()
        if missing:
            self._mending.put_lost(missing)
        return bool(missing)


def _of(segment: SegmentNumber, problem: str, repair: Repair = Repair.NONE) -> Finding:
    return Finding(f"segment {name_of(segment)}", problem, repair, segment)


def _problem(error: DamagedSegment | UnknownFormat) -> str:
    return error.problem if isinstance(error, DamagedSegment) else f"is of version {error.version}"
