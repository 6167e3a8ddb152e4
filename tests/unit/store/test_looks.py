"""Whoever is not the writer takes several looks: what is changed between two of them is no harm."""

from collections.abc import Callable
from threading import Thread

import pytest

from obnam.errors import NotFound
from obnam.wire.messages import KeyringSlot
from obnam_server.store.errors import StoreFailed
from obnam_server.store.generations.sessions import Sessions
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.segments.local import LocalSegmentStore
from obnam_server.store.upkeep.collection import SegmentShare
from obnam_server.store.upkeep.compaction import Rewrite
from tests.support.meanwhile import Meanwhile
from tests.support.scrubbed import CHUNKS_1, KEYRING, SpoiltServer, break_chunk, compact
from tests.support.stored import (
    ALICE,
    BOB,
    all_right,
    body_of,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
    put,
    segment_paths,
)

SLOTS = [KeyringSlot("1" * 32, "another", b"sealed")]


def forget_one(home: RepositoryStore) -> None:
    """The generation whose chunk "a" no other one has."""
    if generation_id("one") in home.decisions.register().pins:
        home.change(home.decisions.unpin, generation_id("one"))
    home.change(home.decisions.delete, [generation_id("one")], "admin", "old")
    home.change(home.decisions.expunge, [generation_id("one")])


def written(rewrite: Rewrite) -> Rewrite:
    for _ in rewrite.steps():
        pass
    return rewrite


# The check


@pytest.mark.parametrize(
    "look", ["segments_after", "generation_in", "generation_set", "get_generation"]
)
@pytest.mark.parametrize("is_before", [True, False])
def test_a_generation_that_goes_during_a_check(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch, look: str, is_before: bool
) -> None:
    going = Meanwhile(lambda: forget_one(server.home))
    (going.before if is_before else going.after)(monkeypatch, SqliteIndex, look)
    assert list(server.home.checking.find()) == []
    assert going.happened


@pytest.mark.parametrize("look", ["segments_after", "numbers", "gone", "locate", "placed"])
@pytest.mark.parametrize("is_before", [True, False])
def test_a_segment_that_is_compacted_during_a_check(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch, look: str, is_before: bool
) -> None:
    forget_one(server.home)
    going = Meanwhile(lambda: compact(server, CHUNKS_1))
    (going.before if is_before else going.after)(monkeypatch, SqliteIndex, look)
    assert list(server.home.checking.find()) == []
    assert going.happened


def test_an_upload_that_is_accepted_during_a_check(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = server.home.begin_session(ALICE, None)
    upload = finished(server.home, body_of("xy"))
    coming = Meanwhile(lambda: server.home.accept(session, upload))
    coming.before(monkeypatch, SqliteIndex, "segments_after")
    assert list(server.home.checking.find()) == []
    assert coming.happened


@pytest.mark.parametrize("look", ["all_stored", "absent"])
def test_a_chunk_that_is_healed_during_a_check(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    break_chunk(server.data, server.home, chunk_id("a"))
    session = server.home.begin_session(ALICE, None)
    coming = Meanwhile(lambda: put(server.home, session, "a"))
    coming.after(monkeypatch, SqliteIndex, look)
    problems = [finding.problem for finding in server.home.checking.find()]
    assert coming.happened
    assert [problem for problem in problems if "does not know" in problem] == []


# Collection


def needed_by_whom(home: RepositoryStore, name: str) -> Callable[[], None]:
    """Somebody commits a generation that needs a chunk."""
    session = home.begin_session(BOB, None)

    def need() -> None:
        home.refer(BOB, session, [chunk_id(name)], [])
        home.commit(BOB, session, commit_of("theirs", None, name))

    return need


@pytest.mark.parametrize("look", ["next_sequence", "live_set"])
@pytest.mark.parametrize("is_before", [True, False])
def test_a_commit_while_compaction_looks_what_is_live(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch, look: str, is_before: bool
) -> None:
    forget_one(server.home)
    coming = Meanwhile(needed_by_whom(server.home, "a"))
    (coming.before if is_before else coming.after)(monkeypatch, SqliteIndex, look)
    rewrite = written(server.home.collection.rewrite([SegmentNumber(CHUNKS_1)]))
    assert coming.happened
    server.home.change(server.home.collection.replace, rewrite)
    rewrite.abort()
    assert held(server.home, "abcd") == all_right("abcd")
    server.rebuild()
    assert held(server.home, "abcd") == all_right("abcd")


def live_bytes(shares: list[SegmentShare]) -> dict[int, int]:
    return {share.segment: share.live_bytes for share in shares}


def test_what_is_handed_on_is_never_dead(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an upload to its session, and from there to a generation."""
    forget_one(server.home)
    session = server.home.begin_session(BOB, None)
    upload = finished(server.home, body_of("a"))
    before = live_bytes(server.home.collection.shares())[CHUNKS_1]

    def commit() -> None:
        server.home.refer(BOB, session, [chunk_id("a")], [])
        server.home.commit(BOB, session, commit_of("theirs", None, "a"))

    accepted = Meanwhile(lambda: server.home.accept(session, upload))
    accepted.after(monkeypatch, Sessions, "live_set")
    assert live_bytes(server.home.collection.shares())[CHUNKS_1] == before
    committed = Meanwhile(commit).after(monkeypatch, SqliteIndex, "live_set")
    assert live_bytes(server.home.collection.shares())[CHUNKS_1] == before
    assert accepted.happened
    assert committed.happened


@pytest.mark.parametrize("look", ["chunk_segments", "placed", "absent", "sizes"])
def test_what_is_stored_while_collection_looks_is_not_dead(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    session = server.home.begin_session(BOB, None)
    coming = Meanwhile(lambda: put(server.home, session, "xyz"))
    coming.after(monkeypatch, SqliteIndex, look)
    assert all(live_bytes(server.home.collection.shares()).values())
    assert coming.happened


def test_nobody_can_rely_on_a_chunk_while_it_is_removed(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question which chunks are missing waits: else its answer could be wrong at once."""
    monkeypatch.setattr("obnam_server.store.generations.sessions.WANTED_MAX", 1)
    removed: list[str] = []
    got: list[bool] = []

    def ask() -> None:
        # What `missing` waits for.
        reliance = server.home._numbers.reliance
        got.append(reliance.acquire(blocking=False))
        if got[-1]:
            reliance.release()

    def watched(name: str) -> None:
        real = getattr(SqliteIndex, name)

        def removing(*args: object) -> object:
            removed.append(name)
            other = Thread(target=ask)
            other.start()
            other.join()
            return real(*args)

        monkeypatch.setattr(SqliteIndex, name, removing)

    forget_one(server.home)
    session = server.home.begin_session(BOB, None)
    put(server.home, session, "x")
    break_chunk(server.data, server.home, chunk_id("x"))
    server.home.end_session(BOB, session)
    for name in ("remove", "forget_damaged", "forget_wanted"):
        watched(name)
    compact(server, CHUNKS_1)
    assert server.home.change(server.home.collection.forget_damaged) == 1
    wanting = server.home.begin_session(BOB, None)
    server.home.refer(BOB, wanting, [chunk_id("y")], [])
    server.home.end_session(BOB, wanting)
    server.home.refer(BOB, server.home.begin_session(BOB, None), [chunk_id("z")], [])
    assert removed == ["remove", "forget_damaged", "forget_wanted"]
    assert got == [False] * 3
    other = Thread(target=ask)
    other.start()
    other.join()
    assert got[-1]


def test_what_is_damaged_while_it_is_left_out(server: SpoiltServer) -> None:
    """Its number is not gone: who sends it again gets that one, and it can die once more."""
    forget_one(server.home)
    rewrite = written(server.home.collection.rewrite([SegmentNumber(CHUNKS_1)]))
    break_chunk(server.data, server.home, chunk_id("a"))
    assert server.home.change(server.home.collection.replace, rewrite)
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "a")
    server.home.end_session(ALICE, session)
    assert list(live_bytes(server.home.collection.shares()).values()).count(0) == 1
    assert server.home.damaged_chunk_count() == 0


def test_what_came_again_while_it_was_copied_stays_where_it_is(server: SpoiltServer) -> None:
    """It has another number than the copy's."""
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "ef")
    rewrite = written(server.home.collection.rewrite([SegmentNumber(7)]))
    assert len(rewrite.moved) == 2
    break_chunk(server.data, server.home, chunk_id("e"))
    server.home.end_session(ALICE, session)
    assert server.home.change(server.home.collection.forget_damaged) == 1
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "e")
    before = server.home.locate([chunk_id("e")])
    assert server.home.change(server.home.collection.replace, rewrite)
    assert server.home.locate([chunk_id("e")]) == before
    for again in (server.restart, server.rebuild):
        assert held(server.home, "abcdef") == all_right("abcdef")
        assert list(server.home.checking.find()) == []
        again()


def test_old_segments_that_cannot_be_deleted(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is in use by then, and stays, though whoever compacts gives it up."""

    def fail(*_: object) -> None:
        raise StoreFailed("a segment", "Input/output error")

    forget_one(server.home)
    rewrite = written(server.home.collection.rewrite([SegmentNumber(CHUNKS_1)]))
    with monkeypatch.context() as failing, pytest.raises(StoreFailed):
        failing.setattr(LocalSegmentStore, "delete", fail)
        server.home.change(server.home.collection.replace, rewrite)
    rewrite.abort()
    assert held(server.home, "abcd") == all_right("bcd")
    server.restart()
    assert server.home.problems == []
    assert held(server.home, "bcd") == all_right("bcd")


# Readers


def test_a_keyring_that_is_replaced_while_it_is_read(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = server.home.get_keyring().etag
    coming = Meanwhile(lambda: server.home.put_keyring(SLOTS, etag))
    coming.after(monkeypatch, SqliteIndex, "get_keyring")
    assert list(server.home.get_keyring().slots) == SLOTS
    assert coming.happened
    assert not [path for path in segment_paths(server.data) if int(path.name, 16) == KEYRING]


def test_a_generation_that_goes_while_it_is_read(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not there; and not one whose manifest is lost."""
    server.home.change(server.home.decisions.unpin, generation_id("one"))
    server.home.change(server.home.decisions.delete, [generation_id("one")], "admin", "old")
    going = Meanwhile(
        lambda: server.home.change(server.home.decisions.expunge, [generation_id("one")])
    )
    going.after(monkeypatch, SqliteIndex, "get_generation")
    with pytest.raises(NotFound):
        server.home.get_generation(generation_id("one"))
    assert going.happened
