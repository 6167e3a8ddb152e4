"""Collection and compaction: what is dead goes, and nothing else, whatever comes between."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define

from obnam.errors import ChunksMissing, SessionLost
from obnam.model.ids import SessionId
from obnam_server.store.disk.database import Database
from obnam_server.store.errors import CollectionWaits, DamagedSegment, StoreFull
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.segments.format import ENTRY_BYTES
from obnam_server.store.upkeep.compaction import Rewrite
from tests.support.one_repository import SoundRepository
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    all_right,
    back_up,
    body_of,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
    put,
    sealed,
    segment_paths,
)

NAMES = "abcdefghijxyz"


def written(rewrite: Rewrite) -> Rewrite:
    for _ in rewrite.steps():
        pass
    return rewrite


@define
class Server(SoundRepository):
    """A store that is compacted by hand."""

    def forget(self, *names: str) -> None:
        """For good."""
        generations = [generation_id(name) for name in names]
        self.home.change(self.home.decisions.delete, generations, "admin", "old")
        self.home.change(self.home.decisions.expunge, generations)

    def holding(self) -> list[SegmentNumber]:
        """The segments of chunks."""
        return [share.segment for share in self.home.collection.shares()]

    def dead(self) -> list[int]:
        return [s.size_bytes - s.live_bytes for s in self.home.collection.shares()]

    def compact(self) -> bool:
        """All segments into one."""
        rewrite = written(self.home.collection.rewrite(self.holding()))
        done = self.home.change(self.home.collection.replace, rewrite)
        rewrite.abort()
        return done

    def held(self) -> dict[str, bytes]:
        return held(self.home, NAMES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    back_up(server.home, ALICE, "one", "abcd")
    back_up(server.home, ALICE, "two", "bcef")
    back_up(server.home, BOB, "theirs", "xd")
    yield server
    server.store.close()


def test_nothing_is_dead_while_a_generation_needs_it(server: Server) -> None:
    # But for second copies of chunks: those count for nothing.
    copies = [0, *(len(body_of(names)) + ENTRY_BYTES * len(names) for names in ("bc", "d"))]
    assert server.dead() == copies
    server.home.change(server.home.decisions.delete, [generation_id("one")], "admin", "old")
    # It is in the trash only.
    assert server.dead() == copies


def test_what_is_dead_goes_and_the_rest_stays(server: Server) -> None:
    before = server.dead()
    server.forget("one")
    assert server.dead() == [before[0] + len(body_of("a")) + ENTRY_BYTES, *before[1:]]
    assert server.held() == all_right("abcdefx")
    assert server.compact()
    for again in (server.restart, server.rebuild):
        again()
        assert server.held() == all_right("bcdefx")
        assert server.dead() == [0]
    # One segment of chunks, two commits, the register.
    assert len(segment_paths(server.data)) == 4


def test_a_segment_without_live_chunks_goes_altogether(server: Server) -> None:
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "yz")
    server.home.end_session(ALICE, session)
    assert server.compact()
    assert server.held() == all_right("abcdefx")
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "yz")
    server.home.end_session(ALICE, session)
    last = server.holding()[-1:]
    rewrite = written(server.home.collection.rewrite(last))
    assert rewrite.summary is None
    assert server.home.change(server.home.collection.replace, rewrite)
    assert len(server.holding()) == 1
    server.rebuild()
    assert server.held() == all_right("abcdefx")


@pytest.mark.parametrize("how", ["asked", "uploaded", "referred", "committed"])
def test_what_came_to_life_meanwhile_stays(server: Server, how: str) -> None:
    server.forget("one")
    session = server.home.begin_session(BOB, None)
    rewrite = written(server.home.collection.rewrite(server.holding()))
    if how == "asked":
        assert server.home.missing(session, [chunk_id("a")]) == [False]
    elif how == "uploaded":
        put(server.home, session, "a")
    else:
        server.home.refer(BOB, session, [chunk_id("a")], [])
    if how == "committed":
        commit = commit_of("again", generation_id("theirs"), "a")
        server.home.commit(BOB, session, commit)
    assert not server.home.change(server.home.collection.replace, rewrite)
    rewrite.abort()
    assert server.held() == all_right("abcdefx")
    server.rebuild()
    assert server.held() == all_right("abcdefx")


def test_an_upload_that_is_not_accepted_yet_keeps_what_it_has(server: Server) -> None:
    """Else its chunk would come back under a number that is gone."""
    server.forget("one")
    session = server.home.begin_session(BOB, None)
    rewrite = written(server.home.collection.rewrite(server.holding()))
    upload = finished(server.home, body_of("a"))
    assert not server.home.change(server.home.collection.replace, rewrite)
    rewrite.abort()
    server.home.accept(session, upload)
    server.home.refer(BOB, session, [chunk_id("a")], [])
    server.home.commit(BOB, session, commit_of("again", generation_id("theirs"), "a"))
    assert server.compact()
    for again in (server.restart, server.rebuild):
        again()
        assert server.held() == all_right("abcdefx")
        assert server.dead() == [0]


def test_what_was_collected_can_come_again(server: Server) -> None:
    server.forget("one")
    kept = {path: path.read_bytes() for path in segment_paths(server.data)}
    assert server.compact()
    session = server.home.begin_session(BOB, None)
    assert server.home.missing(session, [chunk_id("a"), chunk_id("b")]) == [True, False]
    put(server.home, session, "a")
    server.home.refer(BOB, session, [chunk_id("a")], [])
    server.home.commit(BOB, session, commit_of("again", generation_id("theirs"), "a"))
    server.rebuild()
    assert server.held() == all_right("abcdefx")
    # Segments that a crash left behind have it under its old number: they spoil nothing.
    gone = [path for path in kept if not path.exists()]
    assert len(gone) == 3
    for path in gone:
        path.write_bytes(kept[path])
    server.restart()
    assert server.held() == all_right("abcdefx")
    server.store.close()
    assert rebuild_index(server.data, HOME, server.clock) == []
    server.start()
    assert server.held() == all_right("abcdefx")
    assert server.compact()
    assert server.held() == all_right("abcdefx")
    assert server.dead() == [0]
    server.rebuild()


def test_sessions_from_before_a_restart_are_waited_for(server: Server) -> None:
    session = server.home.begin_session(BOB, None)
    server.home.missing(session, [chunk_id("a")])
    server.restart()
    with pytest.raises(CollectionWaits, match=rf"restarted \(of {BOB}\)") as waits:
        server.home.collection.shares()
    asked_ns = server.clock()
    day_ns = 24 * 3600 * 10**9
    assert 0 < asked_ns + day_ns - waits.value.until_ns < 60 * 10**9
    server.home.missing(session, [chunk_id("a")])
    with pytest.raises(CollectionWaits) as later:
        server.home.collection.shares()
    assert later.value.until_ns > waits.value.until_ns
    server.home.end_session(BOB, session)
    assert len(server.dead()) == 3


def test_a_reader_follows_what_is_moved(server: Server) -> None:
    server.forget("one")
    body = server.home.frames(server.home.wanted([chunk_id(name) for name in "bxe"]))
    first = next(body)
    assert server.compact()
    assert sealed("b") in first
    assert b"".join([first, *body]).endswith(sealed("e"))


def test_a_copy_sent_later_never_takes_the_place_of_a_compacted_one(server: Server) -> None:
    """Not even when the index is made anew: the sent one may be somebody's junk."""
    session = server.home.begin_session(BOB, None)
    junk = body_of("b").replace(sealed("b"), bytes(len(sealed("b"))))
    server.home.accept(session, finished(server.home, junk + body_of("y")))
    server.home.end_session(BOB, session)
    lower = server.holding()[:-1]
    rewrite = written(server.home.collection.rewrite(lower))
    assert server.home.change(server.home.collection.replace, rewrite)
    assert server.held() == all_right("abcdefxy")
    server.rebuild()
    assert server.held() == all_right("abcdefxy")


def test_damage_is_not_copied(server: Server) -> None:
    path = segment_paths(server.data)[0]
    path.write_bytes(path.read_bytes().replace(sealed("b"), bytes(len(sealed("b")))))
    server.restart()
    rewrite = server.home.collection.rewrite(server.holding())
    with pytest.raises(DamagedSegment):
        written(rewrite)
    before = set(segment_paths(server.data))
    rewrite.abort()
    assert set(segment_paths(server.data)) == before


def test_a_session_is_not_waited_for_while_it_begins(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    transaction = Database.transaction

    @contextmanager
    def looked_at(database: Database, durable: bool) -> Iterator[sqlite3.Connection]:
        with transaction(database, durable) as connection:
            yield connection
        # Collection runs on another thread: it may look at any moment, such as this one.
        seen.append(server.home.collection.shares())

    monkeypatch.setattr(Database, "transaction", looked_at)
    server.home.begin_session(BOB, generation_id("one"))
    assert len(seen) == 1


def test_a_session_that_could_not_begin_is_not_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "5" * 2 * size)

    def full(connection: object, record: object) -> None:
        raise StoreFull("disk")

    with monkeypatch.context() as failing, pytest.raises(StoreFull):
        failing.setattr(SqliteIndex, "put_session", full)
        server.home.begin_session(BOB, generation_id("one"))
    with pytest.raises(SessionLost):
        server.home.missing(SessionId("5" * 32), [chunk_id("a")])


def test_a_session_that_counts_on_its_base_loses_nothing(server: Server) -> None:
    session: SessionId = server.home.begin_session(ALICE, generation_id("one"))
    server.forget("one")
    assert server.compact()
    assert server.held() == all_right("abcdefx")
    server.home.end_session(ALICE, session)
    assert server.compact()
    assert server.held() == all_right("bcdefx")


def test_what_is_referred_to_and_was_collected_is_missing_at_commit(server: Server) -> None:
    server.forget("one")
    assert server.compact()
    session = server.home.begin_session(ALICE, None)
    server.home.refer(ALICE, session, [chunk_id("a")], [])
    with pytest.raises(ChunksMissing) as caught:
        server.home.commit(ALICE, session, commit_of("three", generation_id("two"), "a"))
    assert caught.value.first == (chunk_id("a"),)
