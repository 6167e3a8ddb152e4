"""Very many sessions, and sessions that refer to very much: the store stays fast and small."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obnam.errors import ChunksMissing, RequestRefused
from obnam.model.chunk import SetSum
from obnam.model.ids import ClientName, SessionId
from obnam.wire.limits import SESSION_IDLE_S
from obnam_server.store.generations import sessions as sessions_module
from obnam_server.store.generations.sessions import (
    SESSIONS_PER_CLIENT_MAX,
    STEPS_MAX,
    SWEEP_EVERY_NS,
)
from obnam_server.store.index import sessions as session_index
from obnam_server.store.seams.sessions import SessionRecord
from tests.support.one_repository import OneRepository, SoundRepository
from tests.support.soak import SOAK
from tests.support.stored import (
    ALICE,
    BOB,
    all_right,
    back_up,
    body_of,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
    index_path,
    put,
    rows_of,
)

CLIENTS = 625
"""With sixteen sessions each: ten thousand."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SoundRepository]:
    server = SoundRepository(tmp_path / "data")
    server.start()
    yield server
    server.store.close()


# Many


def test_ten_thousand_open_sessions(server: OneRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup, and a session more, look at the sessions of one client."""
    index = server.home._index
    with index.transaction(durable=False):
        for number in range(CLIENTS * SESSIONS_PER_CLIENT_MAX):
            client = ClientName(f"client-{number % CLIENTS}")
            session = SessionId(f"{number:032x}")
            index.put_session(SessionRecord(session, client, None, SetSum(), server.clock()))
    looked_at = []
    record = session_index._record

    def noted(row: tuple[Any, ...]) -> SessionRecord:
        looked_at.append(row)
        return record(row)

    monkeypatch.setattr(session_index, "_record", noted)
    back_up(server.home, ALICE, "one", "abc")
    assert len(looked_at) <= 2
    server.home.begin_session(ClientName("client-7"), None)
    assert len(looked_at) <= 2 + SESSIONS_PER_CLIENT_MAX
    assert server.home.session_count() == CLIENTS * SESSIONS_PER_CLIENT_MAX
    # And all that nobody goes on with are forgotten at once.
    server.clock.now_ns += 2 * int(SESSION_IDLE_S * 1e9)
    server.home.begin_session(ALICE, None)
    assert server.home.session_count() == 1


# Much of what is not stored


def refer(server: OneRepository, client: ClientName, session: SessionId, *numbers: int) -> None:
    server.home.refer(client, session, [chunk_id(f"junk {n}") for n in numbers], [])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """As many as may be wanted."""
    monkeypatch.setattr(sessions_module, "WANTED_MAX", 10)
    return 10


def test_what_is_not_stored_is_referred_to_up_to_a_limit(server: OneRepository, few: int) -> None:
    session = server.home.begin_session(BOB, None)
    refer(server, BOB, session, *range(few))
    refer(server, BOB, session, *range(few))  # these are known already
    for _ in range(3):
        with pytest.raises(RequestRefused, match="not stored"):
            refer(server, BOB, session, 1, 2, few)
    # Those who store what they refer to are not concerned, nor is the session.
    back_up(server.home, ALICE, "one", "abc")
    assert server.home._index.wanted_count() == few
    with pytest.raises(ChunksMissing):
        junk = commit_of("junk", None, [f"junk {n}" for n in range(few)])
        server.home.commit(BOB, session, junk)
    assert held(server.home, "abc") == all_right("abc")


def test_what_ended_sessions_wanted_makes_room(server: OneRepository, few: int) -> None:
    alices = server.home.begin_session(ALICE, None)
    server.home.refer(ALICE, alices, [chunk_id("a"), chunk_id("b")], [])
    session = server.home.begin_session(BOB, None)
    refer(server, BOB, session, *range(few - 2))
    with pytest.raises(RequestRefused):
        refer(server, BOB, session, few)
    server.home.end_session(BOB, session)
    session = server.home.begin_session(BOB, None)
    with pytest.raises(RequestRefused):
        refer(server, BOB, session, few)  # it was looked for a moment ago
    server.clock.now_ns += SWEEP_EVERY_NS
    refer(server, BOB, session, few)
    assert server.home._index.wanted_count() == 3
    # What is still wanted has the numbers that it had.
    put(server.home, alices, "ab")
    server.home.commit(ALICE, alices, commit_of("one", None, "ab"))
    server.rebuild()
    back_up(server.home, BOB, "two", "abc")
    assert held(server.home, "abc") == all_right("abc")


def test_an_upload_under_way_keeps_the_number_that_it_was_given(
    server: OneRepository, few: int
) -> None:
    session = server.home.begin_session(BOB, None)
    server.home.refer(BOB, session, [chunk_id("a")], [])
    upload = finished(server.home, body_of("a"))
    server.home.refer(BOB, session, [], [chunk_id("a")])  # nobody needs it but the upload
    refer(server, BOB, session, *range(few - 1))
    with pytest.raises(RequestRefused):
        refer(server, BOB, session, few)
    server.home.accept(session, upload)
    server.home.end_session(BOB, session)
    stored = server.home._index.all_stored()
    assert len(stored) == 1
    assert not stored & server.home._index.gone()
    back_up(server.home, ALICE, "one", "a")
    server.rebuild()
    assert held(server.home, "a") == all_right("a")


# Many changes


def test_many_changes_become_one(server: OneRepository) -> None:
    base = back_up(server.home, ALICE, "one", "abcdefgh")
    session = server.home.begin_session(ALICE, base)
    put(server.home, session, "xyz")
    for _ in range(5 * STEPS_MAX):
        server.home.refer(ALICE, session, [chunk_id("x"), chunk_id("y")], [chunk_id("a")])
        server.home.refer(ALICE, session, [chunk_id("a"), chunk_id("z")], [chunk_id("b")])
    server.restart()
    put(server.home, session, "xyz")
    server.home.commit(ALICE, session, commit_of("two", base, "acdefghxyz"))
    server.store.close()
    assert len(rows_of(index_path(server.data), "session_steps")) == 0
    server.start()


@settings(max_examples=20 * SOAK)
@given(st.lists(st.tuples(st.text("abcd", max_size=3), st.text("abcd", max_size=3)), max_size=12))
def test_the_set_is_the_same_however_it_came_about(steps: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sessions_module, "STEPS_MAX", Random(len(steps)).randint(1, 4))
        server = OneRepository(Path(folder) / "data")
        server.start()
        base = back_up(server.home, ALICE, "one", "ab")
        session, wanted = server.home.begin_session(ALICE, base), set("ab")
        put(server.home, session, "abcd")
        for added, removed in steps:
            ids = [[chunk_id(name) for name in names] for names in (added, removed)]
            server.home.refer(ALICE, session, *ids)
            wanted = (wanted | set(added)) - set(removed)
            assert server.home._index.step_count(session) <= 4
        server.restart()
        server.home.commit(ALICE, session, commit_of("two", generation_id("one"), wanted))
        assert server.home.get_generation(generation_id("two")).summary.chunk_count == len(wanted)
        server.store.close()
