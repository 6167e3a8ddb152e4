"""The store against a model: sets of names, in memory."""

import shutil
import tempfile
from pathlib import Path

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from obnam.errors import ChunksMissing, CommitConflict, NotFound, SessionLost
from obnam.model.ids import ClientName, GenerationId, SessionId
from obnam_server.store.errors import CollectionWaits, Kept
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.segments.upload import Upload
from obnam_server.store.store import Store
from obnam_server.store.upkeep.compaction import Rewrite
from tests.support.in_memory import MEMORY
from tests.support.soak import SOAK
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    Clock,
    all_right,
    body_of,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
    put,
)

NAMES = "abcdefgh"

names = st.lists(st.sampled_from(NAMES), max_size=6)
some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6)
clients = st.sampled_from([ALICE, BOB])


@define
class ModelSession:
    client: ClientName
    base: GenerationId | None
    chunks: set[str] = field(factory=set)
    protected: set[str] = field(factory=set)
    whole: bool = True


@define
class ModelGeneration:
    client: ClientName
    generation: GenerationId
    chunks: frozenset[str]
    sequence: int
    trashed: bool = False


class StoreMachine(RuleBasedStateMachine):
    """Does anything in any order, restarts and rebuilds between, and looks at everything.

    Uploads, compactions and fetches have a beginning and an end, and anything comes between.
    """

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.data = Path(tempfile.mkdtemp(dir=MEMORY)) / "data"
        self.clock = Clock()
        self.live: dict[SessionId, ModelSession] = {}
        self.stored: set[str] = set()
        self.generations: list[ModelGeneration] = []
        self.gone: list[GenerationId] = []
        self.commits = 0
        self.upload_begun: tuple[Upload, list[str]] | None = None
        self.rewrite: tuple[Rewrite, set[str]] | None = None
        self.start()

    def start(self) -> None:
        self.store = Store.open(self.data, self.clock)
        self.home = self.store.create_repository(HOME)
        assert self.home.problems == []

    def teardown(self) -> None:
        self.stop()
        shutil.rmtree(self.data.parent)

    def stop(self) -> None:
        if self.upload_begun is not None:
            self.upload_begun[0].abort()
            self.upload_begun = None
        if self.rewrite is not None:
            self.rewrite[0].abort()
            self.rewrite = None
        self.store.close()

    def latest(self, client: ClientName) -> GenerationId | None:
        own = [g.generation for g in self.generations if g.client == client]
        return own[-1] if own else None

    def live_names(self) -> set[str]:
        """What is needed by anything."""
        held = self.upload_begun[1] if self.upload_begun is not None else []
        return set(held).union(
            *(g.chunks for g in self.generations),
            *(s.chunks | s.protected for s in self.live.values()),
        )

    @rule(target=sessions, client=clients, based=st.booleans())
    def begin(self, client: ClientName, based: bool) -> SessionId:
        base = self.latest(client) if based else None
        session = self.home.begin_session(client, base)
        chunks = next((set(g.chunks) for g in self.generations if g.generation == base), set())
        self.live[session] = ModelSession(client, base, chunks)
        return session

    @rule(session=sessions, wanted=some_names)
    def upload(self, session: SessionId, wanted: list[str]) -> None:
        try:
            put(self.home, session, wanted)
        except SessionLost:
            assert session not in self.live
        else:
            self.live[session].protected |= set(wanted)
            self.stored |= set(wanted)

    @rule(wanted=some_names)
    def begin_upload(self, wanted: list[str]) -> None:
        if self.upload_begun is None:
            self.upload_begun = finished(self.home, body_of(wanted)), wanted

    @rule(session=sessions)
    def end_upload(self, session: SessionId) -> None:
        if self.upload_begun is None:
            return
        (upload, wanted), self.upload_begun = self.upload_begun, None
        try:
            self.home.accept(session, upload)
        except SessionLost:
            assert session not in self.live
            upload.abort()
        else:
            self.live[session].protected |= set(wanted)
            self.stored |= set(wanted)

    @rule()
    def begin_compaction(self) -> None:
        if self.rewrite is not None:
            return
        dead = self.stored - self.live_names()
        try:
            segments = [share.segment for share in self.home.collection.shares()]
            rewrite = self.home.collection.rewrite(segments)
        except CollectionWaits:
            assert not all(session.whole for session in self.live.values())
            return
        assert all(session.whole for session in self.live.values())
        for _ in rewrite.steps():
            pass
        assert {chunk.chunk_id for chunk in rewrite.left_out} == {chunk_id(n) for n in dead}
        self.rewrite = rewrite, dead

    @rule()
    def end_compaction(self) -> None:
        if self.rewrite is None:
            return
        (rewrite, dead), self.rewrite = self.rewrite, None
        done = self.home.change(self.home.collection.replace, rewrite)
        rewrite.abort()
        assert done == (not dead & self.live_names())
        if done:
            self.stored -= dead

    @rule(between=st.sampled_from(["begin_compaction", "end_compaction"]))
    def fetch(self, between: str) -> None:
        """What is needed is read to its end, whatever is moved meanwhile."""
        wanted = sorted(self.stored & self.live_names())
        body = self.home.frames(self.home.wanted([chunk_id(n) for n in wanted]))
        first = next(body, b"")
        getattr(self, between)()
        assert b"".join([first, *body]) == body_of(wanted)

    @rule(number=st.integers(0, 9), undelete=st.booleans())
    def decide(self, number: int, undelete: bool) -> None:
        if not self.generations:
            return
        chosen = self.generations[number % len(self.generations)]
        if undelete:
            self.home.change(self.home.decisions.undelete, [chosen.generation])
            chosen.trashed = False
            return
        try:
            self.home.change(self.home.decisions.delete, [chosen.generation], "admin", "old")
        except Kept:
            assert chosen.generation == self.latest(chosen.client)
        else:
            chosen.trashed = True

    @rule()
    def expunge(self) -> None:
        going = [g for g in self.generations if g.trashed]
        self.home.change(self.home.decisions.expunge, [g.generation for g in going])
        self.generations = [g for g in self.generations if not g.trashed]
        self.gone += [g.generation for g in going]

    @rule(wanted=some_names)
    def give_up(self, wanted: list[str]) -> None:
        finished(self.home, body_of(wanted)).abort()

    @rule(session=sessions, added=names, removed=names)
    def refer(self, session: SessionId, added: list[str], removed: list[str]) -> None:
        live = self.live.get(session)
        client = live.client if live else ALICE
        ids = [chunk_id(n) for n in added], [chunk_id(n) for n in removed]
        try:
            self.home.refer(client, session, *ids)
        except SessionLost:
            assert live is None
        else:
            assert live is not None
            live.chunks = (live.chunks | set(added)) - set(removed)

    @rule(session=sessions)
    def ask(self, session: SessionId) -> None:
        if session in self.live:
            answer = self.home.missing(session, [chunk_id(n) for n in NAMES])
            assert answer == [n not in self.stored for n in NAMES]
            self.live[session].protected |= self.stored

    @rule(session=sessions, stale=st.booleans())
    def commit(self, session: SessionId, stale: bool) -> None:
        live = self.live.get(session)
        if live is None:
            return
        latest = self.latest(live.client)
        previous = generation_id("never") if stale else latest
        name = f"generation {self.commits}"
        commit = commit_of(name, previous, live.chunks)
        try:
            receipt = self.home.commit(live.client, session, commit)
        except CommitConflict:
            assert stale
        except ChunksMissing as error:
            assert {*error.first} == {chunk_id(n) for n in live.chunks - self.stored}
        else:
            assert not stale
            assert live.chunks <= self.stored
            self.commits += 1
            assert receipt.sequence == self.commits
            assert self.home.commit(live.client, session, commit) == receipt
            self.generations.append(
                ModelGeneration(
                    live.client, receipt.generation, frozenset(live.chunks), receipt.sequence
                )
            )
            del self.live[session]

    @rule(session=sessions)
    def end(self, session: SessionId) -> None:
        live = self.live.pop(session, None)
        self.home.end_session(live.client if live else ALICE, session)

    @rule()
    def restart(self) -> None:
        self.stop()
        self.start()
        # What a session began from is all that it can be made anew from.
        self.live = {key: s for key, s in self.live.items() if s.base not in self.gone}
        for session in self.live.values():
            session.protected, session.whole = set(), False

    @rule()
    def rebuild(self) -> None:
        self.stop()
        assert rebuild_index(self.data, HOME, self.clock) == []
        self.live.clear()
        self.start()

    @invariant()
    def chunks_are_there(self) -> None:
        assert held(self.home, NAMES) == all_right(self.stored)

    @invariant()
    def generations_are_there(self) -> None:
        found = self.home.list_generations(0, 1000)
        assert [(s.client, s.receipt.generation, s.chunk_count) for s in found] == [
            (g.client, g.generation, len(g.chunks)) for g in self.generations if not g.trashed
        ]
        for each in self.generations:
            assert self.home.get_generation(each.generation).manifest.startswith(b"manifest of")
            assert each.chunks <= self.stored
        for generation in self.gone:
            try:
                self.home.get_generation(generation)
            except NotFound:
                continue
            raise AssertionError(f"{generation} is back")


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=30 * SOAK, stateful_step_count=40, deadline=None)
