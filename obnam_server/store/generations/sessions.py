"""Sessions: the chunk sets of running backups, and the chunks that they rely on.

Sets and sums are on the disk, step by step, so that a backup goes on after a restart of the
server. Which chunks a session has found present (and must find again at its commit) is only in
memory: whoever collects chunks waits for sessions that are older than the server's start
(``whole`` false), a day at most.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence

from attrs import define, field
from pyroaring import BitMap64

from obnam.errors import NotFound, RequestRefused, SessionLost
from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, ClientName, GenerationId, SessionId
from obnam.wire.limits import SESSION_IDLE_S
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.sessions import SessionRecord
from obnam_server.store.seams.values import ChunkNumber
from obnam_server.store.segments.numbers import Numbers

SESSIONS_PER_CLIENT_MAX = 16
"""Beyond these the client's longest unused session is forgotten: each costs memory."""

WANTED_MAX = 131_072
"""Chunks that are not stored and that sessions of a repository refer to. A client of ours refers to
what it has stored; whoever refers to millions of others makes every commit slow, and the index
large, and no quota counts that."""

SWEEP_EVERY_NS = 60 * 1_000_000_000
"""When there are that many, those that no session needs any more are looked for so often."""

STEPS_MAX = 64
"""Changes of one session's set that are noted one by one; then they become one."""

_IDLE_NS = int(SESSION_IDLE_S * 1_000_000_000)


@define(eq=False)
class Session:
    """A running backup. ``numbers``: its chunk set; ``protected``: what it relies on besides."""

    session: SessionId
    client: ClientName
    base: GenerationId | None
    numbers: BitMap64
    sum: SetSum
    touched_ns: int
    whole: bool
    protected: BitMap64 = field(factory=BitMap64)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def protect(self, numbers: Iterable[ChunkNumber]) -> None:
        """Keep chunks from being collected while the session lives. Any thread."""
        with self._lock:
            self.protected.update(numbers)

    def relied_on(self) -> BitMap64:
        """All that must stay while the session lives."""
        with self._lock:
            return self.numbers | self.protected


@define(eq=False)
class Sessions:
    """The sessions of one repository. Changes come from the writer thread."""

    _index: IIndex
    _numbers: Numbers
    _clock: Callable[[], int]
    _live: dict[SessionId, Session] = field(init=False, factory=dict)
    _swept_ns: int | None = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def live_set(self) -> BitMap64 | None:
        """The numbers of all chunks that running backups rely on; ``None``: that is not known.

        It is not as long as there are sessions from before the server's start.
        """
        live = BitMap64()
        with self._lock:
            for record in self._index.sessions(None):
                session = self._live.get(record.session)
                if session is None or not session.whole:
                    return None
                live |= session.relied_on()
        return live

    def unknown(self) -> tuple[list[ClientName], int]:
        """Whose sessions `live_set` does not know all of, and when the last of them will be idle.

        In ns since the epoch, if nothing more is heard of it.
        """
        with self._lock:
            found = [
                record
                for record in self._index.sessions(None)
                if (live := self._live.get(record.session)) is None or not live.whole
            ]
            last_ns = max(map(self._touched_ns, found), default=self._clock() - _IDLE_NS)
        return sorted({record.client for record in found}), last_ns + _IDLE_NS

    def begin(self, client: ClientName, base: GenerationId | None) -> SessionId:
        """A new session, whose set is that of ``base``. `NotFound`."""
        self.expire()
        numbers, total = BitMap64(), SetSum()
        if base is not None:
            generation = self._index.get_generation(base)
            found = self._index.generation_set(base)
            if generation is None or found is None:
                raise NotFound(f"generation {base}")
            numbers, total = found, generation.sum
        now = self._clock()
        session = SessionId(secrets.token_hex(16))
        older = sorted(self._index.sessions(client), key=self._touched_ns)
        crowded = older[: max(0, len(older) + 1 - SESSIONS_PER_CLIENT_MAX)]
        # In memory first: in the index alone it would look like one from before the server's start.
        with self._lock:
            self._live[session] = Session(session, client, base, numbers, total, now, whole=True)
        try:
            with self._index.transaction(durable=True):
                for record in crowded:
                    self._index.end_session(record.session)
                self._index.put_session(SessionRecord(session, client, base, total, now))
        except BaseException:
            self.ended(session)
            raise
        for record in crowded:
            self.ended(record.session)
        return session

    def _touched_ns(self, record: SessionRecord) -> int:
        """When a session was last used: questions are not noted in the index."""
        live = self._live.get(record.session)
        return record.touched_ns if live is None else max(live.touched_ns, record.touched_ns)

    def get(self, session: SessionId, client: ClientName | None = None) -> Session:
        """A live session (of one client). Any thread. `SessionLost`."""
        now = self._clock()
        with self._lock:
            live = self._live.get(session)
            if live is None or client not in (None, live.client):
                # Another client's is as good as absent, and takes the same work to find out.
                live = self._load(session, client)
            if live.touched_ns + _IDLE_NS < now:
                raise SessionLost(session)
            live.touched_ns = max(now, live.touched_ns)
            return live

    def _load(self, session: SessionId, client: ClientName | None) -> Session:
        found = self._index.get_session(session, client)
        if found is None:
            raise SessionLost(session)
        record, numbers = found
        live = Session(
            session,
            record.client,
            record.base,
            numbers,
            record.sum,
            record.touched_ns,
            whole=False,
        )
        self._live[session] = live
        return live

    def refer(
        self,
        client: ClientName,
        session: SessionId,
        added: Sequence[ChunkId],
        removed: Sequence[ChunkId],
    ) -> None:
        """Add to a session's set, then remove from it. `SessionLost`, `RequestRefused`."""
        live = self.get(session, client)
        given = self._numbers.give(added)
        try:
            if given.unknown:
                self._check_wanted(len(given.unknown))
            going = {**self._index.numbers(removed), **given.numbers}
            coming = {i: n for i, n in given.numbers.items() if n not in live.numbers}
            going = {
                i: going[i]
                for i in dict.fromkeys(removed)
                if i in going and (going[i] in live.numbers or i in coming)
            }
            total = live.sum.add(coming).remove(going)
            plus, minus = BitMap64(coming.values()), BitMap64(going.values())
            with self._index.transaction(durable=True):
                self._index.put_wanted([(i, given.numbers[i]) for i in given.unknown])
                self._index.put_next_numbers(*self._numbers.next_numbers())
                self._note_step(live, plus, minus, total)
        finally:
            self._numbers.release(given)
        live.numbers |= plus
        live.numbers -= minus
        live.sum = total

    def _note_step(self, live: Session, plus: BitMap64, minus: BitMap64, total: SetSum) -> None:
        if self._index.step_count(live.session) >= STEPS_MAX:
            self._index.forget_steps(live.session)
            base = None if live.base is None else self._index.generation_set(live.base)
            base = BitMap64() if base is None else base
            numbers = (live.numbers | plus) - minus
            plus, minus = numbers - base, base - numbers
        self._index.change_session(live.session, plus, minus, total, live.touched_ns)

    def _check_wanted(self, more: int) -> None:
        """Raises `RequestRefused` when so many more chunks would be wanted than there may be."""
        if self._index.wanted_count() + more <= WANTED_MAX:
            return
        now = self._clock()
        if self._swept_ns is None or abs(now - self._swept_ns) >= SWEEP_EVERY_NS:
            self._swept_ns = now
            with self._numbers.reliance, self._index.transaction(durable=False):
                # Numbers that somebody has been given are kept: a chunk is about to come.
                self._index.forget_wanted(self.needed() | self._numbers.held())
            if self._index.wanted_count() + more <= WANTED_MAX:
                return
        problem = f"running backups refer to more than {WANTED_MAX:,} chunks that are not stored"
        raise RequestRefused("the server", problem)

    def end(self, client: ClientName, session: SessionId) -> None:
        """Forget a session. One that is unknown, or another client's, is fine."""
        try:
            self.get(session, client)
        except SessionLost:
            return
        with self._index.transaction(durable=False):
            self._index.end_session(session)
        self.ended(session)

    def ended(self, session: SessionId) -> None:
        """The index has forgotten the session."""
        with self._lock:
            self._live.pop(session, None)

    def needed(self) -> BitMap64:
        """The numbers of all chunks that sessions have in their sets or rely on besides.

        What sessions from before the server's start had found present is not known. Any thread.
        """
        needed = BitMap64()
        for record in self._index.sessions(None):
            with self._lock:
                live = self._live.get(record.session)
            if live is not None:
                needed |= live.relied_on()
            elif (found := self._index.get_session(record.session, None)) is not None:
                needed |= found[1]
        return needed

    def expire(self) -> None:
        """Forget sessions that nobody has used for `SESSION_IDLE_S`."""
        limit = self._clock() - _IDLE_NS
        # What was used since the index was told is only known here.
        untouched = [record.session for record in self._index.sessions_untouched_since(limit)]
        with self._lock:
            live = [(session, self._live.get(session)) for session in untouched]
        old = [session for session, used in live if used is None or used.touched_ns < limit]
        if old:
            with self._index.transaction(durable=False):
                for session in old:
                    self._index.end_session(session)
            for session in old:
                self.ended(session)
