"""One repository's store: what the API talks to. Everything blocks.

Methods marked WRITER change state and are called from one thread, one after the other; all others
from any thread. Whatever a method answers is durable by then.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from attrs import define, field
from pyroaring import BitMap64

from obnam.errors import NotFound
from obnam.model.ids import ChunkId, ClientName, GenerationId, RepositoryName, SessionId
from obnam.wire.damage import DAMAGE_PAGE_MAX, DamagePage
from obnam.wire.messages import (
    Commit,
    CommittedGeneration,
    GenerationSummary,
    Keyring,
    KeyringSlot,
    Receipt,
)
from obnam_server.store.accounts.audit import RepositoryAudit
from obnam_server.store.accounts.server_key import ServerKey
from obnam_server.store.errors import StoreFull, StoreUncertain
from obnam_server.store.generations.accounting import Accounting
from obnam_server.store.generations.commits import Generations
from obnam_server.store.generations.decisions import Decisions
from obnam_server.store.generations.keyring import KeyringStore
from obnam_server.store.generations.register import RegisterStore
from obnam_server.store.generations.sessions import Sessions
from obnam_server.store.reservations import Reservation, Reservations
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import Location, Past
from obnam_server.store.segments.fetch import Wanted, read_frames
from obnam_server.store.segments.format import SegmentKind
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import RepositoryHome
from obnam_server.store.segments.upload import Upload
from obnam_server.store.upkeep.checking import Checking
from obnam_server.store.upkeep.collection import Collection
from obnam_server.store.upkeep.damage import DamageRecords, needed
from obnam_server.store.upkeep.mending import Mending
from obnam_server.store.upkeep.recovery import Recovery
from obnam_server.store.upkeep.scrubbing import Scrubbing
from obnam_server.store.upkeep.unreadable import Unreadable

__all__ = ["RepositoryStore", "Upload"]

P = ParamSpec("P")
T = TypeVar("T")

Judge = Callable[[Sequence[Past], Past], str | None]
"""From a client's generations, oldest first, and a new one: why that is unusual, if it is."""

HISTORY_MAX = 1000
"""Generations of a client that a new one is compared with."""


@define(eq=False)
class RepositoryStore:
    """All of one repository. ``problems``: what was found wrong when it was opened."""

    _home: RepositoryHome
    _index: IIndex
    _clock: Callable[[], int]
    audit: RepositoryAudit
    _key: ServerKey
    _judge: Judge | None = None
    problems: Sequence[str] = field(init=False)
    decisions: Decisions = field(init=False)
    collection: Collection = field(init=False)
    scrubbing: Scrubbing = field(init=False)
    checking: Checking = field(init=False)
    accounting: Accounting = field(init=False)
    reservations: Reservations = field(init=False)
    _numbers: Numbers = field(init=False)
    _sessions: Sessions = field(init=False)
    _generations: Generations = field(init=False)
    _keyring: KeyringStore = field(init=False)
    gone: bool = field(init=False, default=False)
    _uncertain: StoreUncertain | None = field(init=False, default=None)
    _unreadable: Unreadable = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._home.segments.settle(self._home.name)
        recovery = Recovery(self._home, self._index)
        problems = recovery.run()
        if recovery.adopted:
            first, last = min(recovery.adopted), max(recovery.adopted)
            count = len(recovery.adopted)
            self.audit.note("commits-adopted", first=first, last=last, count=count)
        self._unreadable = Unreadable(self._home, self._index)
        self._numbers = Numbers(self._index, *self._index.next_numbers())
        self._sessions = Sessions(self._index, self._numbers, self._clock)
        self._sessions.expire()
        if not self._index.sessions(None):
            with self._index.transaction(durable=False):
                self._index.forget_wanted(BitMap64())
        self._generations = Generations(
            self._home,
            self._index,
            self._numbers,
            self._sessions,
            self._clock,
            self.audit,
            self._key,
            self._look_at,
        )
        self._keyring = KeyringStore(
            self._home, self._index, self._numbers, self._clock, self.audit
        )
        register = RegisterStore(self._home, self._index, self._numbers)
        self.decisions = Decisions(self._index, register, self._clock, self.audit)
        self.collection = Collection(
            self._home, self._index, self._numbers, self._sessions, self._clock
        )
        records = DamageRecords(self._home, self._index, self._numbers, self._clock)
        try:
            records.tidy()
            records.record()
        except StoreFull as error:
            # Said by the index all the same; and written down by the next scrub.
            problems.append(f"what is damaged is not written down: {error}")
        self.problems = problems
        mending = Mending(
            self._home,
            self._index,
            self._numbers,
            self._keyring,
            register,
            records,
            self._clock,
        )
        self.scrubbing = Scrubbing(
            self._home, self._index, mending, records, self._clock, self.audit
        )
        self.checking = Checking(self._home, self._index, mending)
        self.accounting = Accounting(self._index, self._sessions)
        self.reservations = Reservations(self._index.used_bytes)

    @property
    def name(self) -> RepositoryName:
        """Its name."""
        return self._home.name

    @property
    def repository_id(self) -> bytes:
        """What its receipts call it (16 bytes)."""
        return self._home.repository_id

    # Chunks in

    def begin_upload(self) -> Upload:
        """A new upload. `NotFound` (it was destroyed), `StoreFull`, `StoreFailed`."""
        self._check_not_gone()
        writer = self._home.segments.begin(self._home.name)
        upload = Upload(writer, self._numbers, self._home.repository_id, self._clock())
        try:
            upload.begin()
        except BaseException:
            upload.abort()
            raise
        return upload

    def accept(
        self,
        session: SessionId,
        upload: Upload,
        client: ClientName | None = None,
        reservation: Reservation | None = None,
    ) -> None:
        """WRITER. After `Upload.finish`: its chunks are stored. `SessionLost`, `StoreFull`.

        After an error: `Upload.abort`. ``client``: whose the session must be, ``None``: anyone's.
        ``reservation``: the room that it had; it is used then.
        """
        if upload.summary is None:
            raise ValueError("the upload is not finished")
        with self._changing():
            live = self._sessions.get(session, client)
            # The segment is durable, and adopted should this be undone by a power failure.
            used = self.reservations.being_used(reservation)
            with used, self._index.transaction(durable=False):
                kept = self._index.put(upload.chunks, SegmentKind.CHUNKS)
                if kept:
                    self._index.put_segment(upload.summary, SegmentKind.CHUNKS, upload.created_ns)
                self._index.put_next_numbers(*self._numbers.next_numbers())
                self._index.touch_session(session, live.touched_ns)
            live.protect(chunk.number for chunk in upload.chunks)
        if kept:
            upload.accepted()
        else:
            # All of it was there already: an upload repeated because its answer was lost.
            upload.abort()

    def missing(
        self, session: SessionId, ids: Sequence[ChunkId], client: ClientName | None = None
    ) -> list[bool]:
        """Which of ``ids`` must be stored (again); the others are protected. `SessionLost`.

        ``client``: whose the session must be, ``None``: anyone's.
        """
        live = self._sessions.get(session, client)
        with self._numbers.reliance:
            stored = self._index.stored_numbers(ids)
            for chunk_id in self._unreadable.among(ids):
                stored.pop(chunk_id, None)
            live.protect(stored.values())
        return [chunk_id not in stored for chunk_id in ids]

    # Chunks out

    def locate(self, ids: Sequence[ChunkId]) -> list[Location | None]:
        """Where chunks are; ``None``: absent, or found to be damaged."""
        found = self._index.locate(ids)
        for chunk_id in self._unreadable.among(ids):
            found.pop(chunk_id, None)
        return [found.get(chunk_id) for chunk_id in ids]

    def frames(self, wanted: Sequence[Wanted]) -> Iterator[bytes]:
        """The body of an answer to a fetch of what `wanted` said, in pieces of at most 256 KiB.

        Frames in the order asked; absent chunks have length 0. Chunks that compaction moves
        meanwhile are read where they went. A chunk that cannot be read raises `DamagedSegment` in
        midstream. All others of the answer are looked at then, and what cannot be read is absent
        from then on: asking again, once, gets everything else.
        """
        return read_frames(self._home, wanted, self.moved)

    def wanted(self, ids: Sequence[ChunkId]) -> list[Wanted]:
        """Chunks, each with its place."""
        return list(zip(ids, self.locate(ids), strict=True))

    def moved(self, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        """Chunks that cannot be read where they were: where they are now, of the same lengths.

        Empty when that is nowhere else; then what cannot be read is absent from now on.
        """
        now = self.wanted([chunk_id for chunk_id, _ in wanted])
        if now == list(wanted):
            self._unreadable.find([chunk_id for chunk_id, _ in wanted])
        elif [place and place.length for _, place in now] == [p and p.length for _, p in wanted]:
            return now
        return []

    # Sessions

    def begin_session(self, client: ClientName, base: GenerationId | None) -> SessionId:
        """WRITER. Begin a backup on top of ``base``. `NotFound`."""
        with self._changing():
            return self._sessions.begin(client, base)

    def refer(
        self,
        client: ClientName,
        session: SessionId,
        added: Sequence[ChunkId],
        removed: Sequence[ChunkId],
    ) -> None:
        """WRITER. Add to the session's chunk set, then remove from it. `SessionLost`."""
        with self._changing():
            self._sessions.refer(client, session, added, removed)

    def end_session(self, client: ClientName, session: SessionId) -> None:
        """WRITER. Forget a session; an unknown one is fine."""
        with self._changing():
            self._sessions.end(client, session)

    # Generations

    def commit(self, client: ClientName, session: SessionId, commit: Commit) -> Receipt:
        """WRITER. Make the session's set a generation, all or nothing.

        `CommitConflict`, `ChunksMissing`, `SetDiffers`, `RequestRefused` (the generation id is
        taken), `SessionLost`, `StoreFull`. Repeating what went through gives its receipt again.
        """
        with self._changing():
            receipt = self._generations.commit(client, session, commit)
            self._index.tidy()
            return receipt

    def _look_at(self, client: ClientName, generation: GenerationId, past: Past) -> None:
        """WRITER. Raise an alarm when a generation is not like its client's others."""
        if self._judge is not None:
            history = self._index.history(client, HISTORY_MAX)
            reason = self._judge(history, past)
            if reason is not None:
                self.decisions.alarm(client, generation, reason)

    def list_generations(self, after_sequence: int, limit: int) -> list[GenerationSummary]:
        """At most ``limit`` generations with higher sequence numbers, oldest first."""
        return self._generations.list(after_sequence, limit)

    def get_generation(self, generation: GenerationId) -> CommittedGeneration:
        """One generation with its manifest, empty when that is lost. `NotFound`."""
        return self._generations.get(generation)

    def latest(self, client: ClientName) -> CommittedGeneration | None:
        """A client's newest generation with its manifest, empty when that is lost."""
        return self._generations.latest(client)

    def newest(self) -> GenerationSummary | None:
        """The newest generation of any client."""
        return self._generations.newest()

    def damage(self, first: int) -> DamagePage:
        """Damaged chunks that generations need, a page of them, from the number ``first`` on."""
        return needed(self._index, first, DAMAGE_PAGE_MAX)

    # Keyring

    def get_keyring(self) -> Keyring:
        """All slots. `DamagedSegment`."""
        return self._keyring.get()

    def put_keyring(
        self, slots: Sequence[KeyringSlot], etag: str, client: ClientName | None = None
    ) -> Keyring:
        """WRITER. Replace all slots, for ``client``. `KeyringChanged`, `StoreFull`."""
        with self._changing():
            return self._keyring.put(slots, etag, client)

    # Figures

    def times(self) -> dict[str, int]:
        """Times that upkeep noted for itself (ns since the epoch)."""
        return self._index.times()

    def put_times(self, times: Mapping[str, int]) -> None:
        """WRITER. Note some."""
        with self._index.transaction(durable=True):
            self._index.put_times(times)

    def used_bytes(self) -> int:
        """The size of all segments. Takes no time, however many there are."""
        return self._index.used_bytes()

    def has_chunks(self) -> bool:
        """Whether any chunk was ever given a number, which comes before it is stored."""
        _, next_chunk = self._numbers.next_numbers()
        return next_chunk > 0

    def generation_count(self) -> int:
        """How many generations there are."""
        return self._index.generation_count()

    def session_count(self) -> int:
        """How many backups are running, or were not ended."""
        return len(self._index.sessions(None))

    def damaged_chunk_count(self) -> int:
        """How many chunks were stored once, and are damaged or lost."""
        return self._unreadable.damaged_count()

    def retire(self) -> None:
        """WRITER. Its files are gone: nothing changes any more.

        Whoever still reads may come to an end; with the last of them the index is closed.
        """
        self.gone = True
        weakref.finalize(self, self._index.close, clean=False)

    def close(self) -> None:
        """Close the index. No other call may be under way."""
        self._index.close(clean=self._uncertain is None)

    def change(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """WRITER. Call what changes this repository, such as a method of `decisions`."""
        with self._changing():
            return call(*args, **kwargs)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Around every change: none happens when it is not known what the last one did."""
        self._check_not_gone()
        if self._uncertain is not None:
            raise StoreUncertain(self._uncertain.path, self._uncertain.problem)
        self._unreadable.note()
        try:
            yield
        except StoreUncertain as error:
            self._uncertain = error
            raise

    def _check_not_gone(self) -> None:
        if self.gone:
            raise NotFound(f"repository {self.name}")
