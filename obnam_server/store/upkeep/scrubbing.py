"""The scrub: what is stored is read again and again, and what is not as it was written is noted.

A pass goes through the segments in the order of their numbers; how far it has come is in the
index, so that it goes on after a restart. Reading (`check`) changes nothing and takes its time;
what was found is noted in one call (`note`), which looks again at what the index says by then:
meanwhile a segment may have been compacted away, or a chunk moved elsewhere.
"""

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from obnam.model.ids import ChunkId
from obnam_server.store.accounts.audit import RepositoryAudit
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import ScrubPass, SegmentNumber
from obnam_server.store.segments.format import CHUNK_KINDS, SegmentKind, name_of
from obnam_server.store.segments.parts import RepositoryHome
from obnam_server.store.upkeep.damage import DamageRecords
from obnam_server.store.upkeep.mending import Mending
from obnam_server.store.upkeep.segment_check import Checked, SegmentCheck

_PART_NAMES: dict[int, str] = {
    SegmentKind.COMMIT: "the commit",
    SegmentKind.KEYRING: "the keyring",
    SegmentKind.REGISTER: "the register",
    SegmentKind.DAMAGE: "a record of damage",
}


@frozen
class Noted:
    """What became of one check. ``damaged``: chunks that are missing from now on; ``problem``: one
    line on what else is wrong; ``current``: the pass goes on (else another one has begun).
    """

    damaged: Sequence[ChunkId] = ()
    problem: str | None = None
    current: bool = True


@frozen
class Standing:
    """How the scrub stands: the last two passes, newest first; what is wrong with segments, one
    line each; damaged chunks now, and how many were healed in all.
    """

    passes: Sequence[ScrubPass]
    problems: Sequence[str]
    damaged: int
    healed: int


@frozen
class Scrubbing:
    """The scrub of one repository."""

    _home: RepositoryHome
    _index: IIndex
    _mending: Mending
    _records: DamageRecords
    _clock: Callable[[], int]
    _audit: RepositoryAudit

    def standing(self) -> Standing:
        """How it stands. Any thread."""
        problems = self._index.scrub_problems()
        return Standing(
            self._index.scrub_passes(),
            [f"segment {name_of(segment)}: {problem}" for segment, problem in problems.items()],
            self._index.damaged_count(),
            self._index.healed_count(),
        )

    def begin(self) -> ScrubPass:
        """WRITER. Begin a new pass."""
        passes = self._index.scrub_passes()
        # One after the other, whatever the clock says.
        began_ns = max([self._clock(), *(each.began_ns + 1 for each in passes)])
        scrub = ScrubPass(began_ns)
        with self._index.transaction(durable=False):
            self._index.put_scrub_pass(scrub)
        self._records.tidy()
        self._records.record()
        return scrub

    def check(self, after: SegmentNumber) -> SegmentCheck | None:
        """The check of the first segment behind ``after``; ``None``: there is none. Any thread."""
        for segment, kind, size_bytes in self._index.segments_after(after, 1):
            return SegmentCheck(self._home, self._index, segment, kind, size_bytes)
        return None

    def note(self, scrub: ScrubPass, checked: Checked) -> Noted:
        """WRITER. Note what was found, and that the pass has come so far. `StoreFull`."""
        damaged, problem = self._judge(checked)
        with self._index.transaction(durable=bool(damaged)):
            self._index.damage(damaged)
            self._index.put_scrub_problem(checked.segment, problem)
            current = self._advance(scrub, checked, len(damaged))
        if damaged or problem is not None:
            segment = name_of(checked.segment)
            self._audit.note("damage", segment=segment, chunks=len(damaged), problem=problem)
        if damaged:
            self._records.record()
        elif problem is not None and self._mend(checked):
            with self._index.transaction(durable=False):
                self._index.put_scrub_problem(checked.segment, None)
            problem += "; it is written anew"
        return Noted(damaged, problem, current)

    def end(self, scrub: ScrubPass) -> None:
        """WRITER. The pass has seen every segment."""
        current = self._current(scrub)
        if current is not None:
            with self._index.transaction(durable=False):
                self._index.put_scrub_pass(evolve(current, ended_ns=self._clock()))
        self._records.tidy()

    def _current(self, scrub: ScrubPass) -> ScrubPass | None:
        """The pass as it is noted, unless another one has begun."""
        passes = self._index.scrub_passes()
        return passes[0] if passes and passes[0].began_ns == scrub.began_ns else None

    def _advance(self, scrub: ScrubPass, checked: Checked, damaged: int) -> bool:
        current = self._current(scrub)
        if current is None or current.segment >= checked.segment:
            return False
        self._index.put_scrub_pass(
            evolve(
                current,
                segment=checked.segment,
                size_bytes=current.size_bytes + checked.size_bytes,
                damaged=current.damaged + damaged,
            )
        )
        return True

    def _judge(self, checked: Checked) -> tuple[tuple[ChunkId, ...], str | None]:
        """Which chunks are damaged, and what else is wrong, as things are now."""
        if self._index.segment_kind(checked.segment) is None:
            return (), None  # It was replaced meanwhile: what is in use of it is elsewhere.
        problem = checked.problem
        if checked.kind in CHUNK_KINDS:
            places = self._index.locate([chunk_id for chunk_id, _ in checked.bad])
            damaged = tuple(i for i, place in checked.bad if places.get(i) == place)
            if problem is not None and checked.unsure:
                problem += f", and {checked.unsure} chunks in it cannot be checked"
            return damaged, problem
        if problem is None and checked.bad:
            parts = [bytes(i).strip(b"\0").decode("ascii", "replace") for i, _ in checked.bad]
            named = [part if part in _PARTS else "manifest" for part in parts]
            problem = f"is damaged ({', '.join(named)})"
        if problem is None:
            return (), None
        return (), f"{problem}: {self._what(checked)}"

    def _what(self, checked: Checked) -> str:
        if checked.kind == SegmentKind.COMMIT:
            return f"the commit of generation {self._index.generation_in(checked.segment)}"
        return _PART_NAMES.get(checked.kind, f"of kind {checked.kind}")

    def _mend(self, checked: Checked) -> bool:
        """Write anew what the index has, or what is sound in spite of all."""
        if checked.kind == SegmentKind.KEYRING and checked.bad:
            return False
        if checked.kind in (SegmentKind.REGISTER, SegmentKind.KEYRING, SegmentKind.DAMAGE):
            return self._mending.rewrite(checked.segment)
        return False


_PARTS = ("receipt", "chunk set", "keyring", "register", "damage")
