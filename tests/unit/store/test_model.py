"""The store against a model: sets of names, in memory."""

import shutil
import tempfile
from pathlib import Path

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from obnam.errors import ChunksMissing, CommitConflict, SessionLost
from obnam.model.ids import ClientName, GenerationId, SessionId
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
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
    chunks: set[str] = field(factory=set)


class StoreMachine(RuleBasedStateMachine):
    """Does anything in any order, restarts and rebuilds between, and looks at everything."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.data = Path(tempfile.mkdtemp()) / "data"
        self.clock = Clock()
        self.live: dict[SessionId, ModelSession] = {}
        self.stored: set[str] = set()
        self.generations: list[tuple[ClientName, GenerationId, frozenset[str]]] = []
        self.start()

    def start(self) -> None:
        self.store = Store.open(self.data, self.clock)
        self.home = self.store.create_repository(HOME)
        assert self.home.problems == []

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.data.parent)

    def latest(self, client: ClientName) -> GenerationId | None:
        own = [g for c, g, _ in self.generations if c == client]
        return own[-1] if own else None

    @rule(target=sessions, client=clients, based=st.booleans())
    def begin(self, client: ClientName, based: bool) -> SessionId:
        base = self.latest(client) if based else None
        session = self.home.begin_session(client, base)
        chunks = next((set(s) for _, g, s in self.generations if g == base), set())
        self.live[session] = ModelSession(client, chunks)
        return session

    @rule(session=sessions, wanted=some_names)
    def upload(self, session: SessionId, wanted: list[str]) -> None:
        try:
            put(self.home, session, wanted)
        except SessionLost:
            assert session not in self.live
        else:
            assert session in self.live
            self.stored |= set(wanted)

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

    @rule(session=sessions, stale=st.booleans())
    def commit(self, session: SessionId, stale: bool) -> None:
        live = self.live.get(session)
        if live is None:
            return
        latest = self.latest(live.client)
        previous = generation_id("never") if stale else latest
        name = f"generation {len(self.generations)}"
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
            assert receipt.sequence == len(self.generations) + 1
            assert self.home.commit(live.client, session, commit) == receipt
            self.generations.append((live.client, receipt.generation, frozenset(live.chunks)))
            del self.live[session]

    @rule(session=sessions)
    def end(self, session: SessionId) -> None:
        live = self.live.pop(session, None)
        self.home.end_session(live.client if live else ALICE, session)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.start()

    @rule()
    def rebuild(self) -> None:
        self.store.close()
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
            (c, g, len(s)) for c, g, s in self.generations
        ]
        for _, generation, _ in self.generations:
            assert self.home.get_generation(generation).manifest.startswith(b"manifest of")


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
