"""What the store promises of one repository, beyond the contract suite."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from obnam.errors import ChunksMissing, RequestRefused, SessionLost
from obnam.model.ids import SessionId
from obnam.wire.frames import BadFrame, pack_header
from obnam.wire.limits import SESSION_IDLE_S, UPLOAD_BODY_MAX
from obnam.wire.messages import KeyringSlot
from obnam_server.store.errors import DamagedSegment, KeyringChanged
from obnam_server.store.generations.sessions import SESSIONS_PER_CLIENT_MAX
from obnam_server.store.segments.received import UPLOAD_FRAMES_MAX
from tests.support.one_repository import OneRepository
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
    put,
    segment_paths,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OneRepository]:
    server = OneRepository(tmp_path / "data")
    server.start()
    yield server
    server.store.close()


# Uploads


@pytest.mark.parametrize("piece_bytes", [1, 7, 36, 37, 38, 1000, 1 << 20])
def test_however_a_body_is_cut(server: OneRepository, piece_bytes: int) -> None:
    session = server.home.begin_session(ALICE, None)
    server.home.accept(session, finished(server.home, body_of("abc"), piece_bytes))
    assert held(server.home, "abc") == all_right("abc")


def test_a_segment_is_its_body_and_a_little_more(server: OneRepository) -> None:
    put(server.home, server.home.begin_session(ALICE, None), "ab")
    (path,) = segment_paths(server.data)
    content, body = path.read_bytes(), body_of("ab")
    assert content[32 : 32 + len(body)] == body
    assert len(content) == 32 + len(body) + 2 * 69 + 72
    assert server.home.used_bytes() == len(content)


def test_nothing_is_stored_before_it_is_accepted(server: OneRepository) -> None:
    session = server.home.begin_session(ALICE, None)
    upload = finished(server.home, body_of("a"))
    assert server.home.missing(session, [chunk_id("a")]) == [True]
    assert len(server.home._numbers.held()) == 1
    upload.abort()
    upload.abort()
    assert segment_paths(server.data) == []
    assert len(server.home._numbers.held()) == 0  # collection waits for those that are
    with pytest.raises(SessionLost):
        server.home.accept(SessionId("0" * 32), upload)


def test_an_accepted_upload_stays(server: OneRepository) -> None:
    upload = finished(server.home, body_of("a"))
    server.home.accept(server.home.begin_session(ALICE, None), upload)
    upload.abort()
    assert held(server.home, "a") == all_right("a")


def test_accepting_what_is_not_finished(server: OneRepository) -> None:
    upload = server.home.begin_upload()
    with pytest.raises(ValueError, match="not finished"):
        server.home.accept(server.home.begin_session(ALICE, None), upload)
    upload.abort()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        body_of("a")[:-1],
        body_of("a") + b"\x01",
        b"\x02" + body_of("a")[1:],
        body_of("a") + pack_header(chunk_id("b"), 0),
        bytes(body_of([str(n) for n in range(100)]) * (1 + UPLOAD_BODY_MAX // 10_000))[
            : UPLOAD_BODY_MAX + 1
        ],
        b"".join(pack_header(chunk_id("a"), 1) + b"x" for _ in range(UPLOAD_FRAMES_MAX + 1)),
    ],
    ids=["empty", "short", "long", "algorithm", "absent", "large", "many"],
)
def test_what_is_no_body(server: OneRepository, body: bytes) -> None:
    with pytest.raises(BadFrame):
        finished(server.home, body, piece_bytes=1 << 20)
    assert segment_paths(server.data) == []
    assert list((server.data / "repositories/home/incoming").iterdir()) == []


def test_an_upload_repeated_takes_no_room(server: OneRepository) -> None:
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "abc")
    used = server.home.used_bytes()
    put(server.home, session, "cab")
    assert server.home.used_bytes() == used
    assert len(segment_paths(server.data)) == 1


def test_two_uploads_of_the_same_chunk_at_once(server: OneRepository) -> None:
    session = server.home.begin_session(ALICE, None)
    first, second = finished(server.home, body_of("ab")), finished(server.home, body_of("bc"))
    server.home.accept(session, second)
    server.home.accept(session, first)
    assert held(server.home, "abc") == all_right("abc")
    place = server.home.locate([chunk_id("b")])[0]
    assert place is not None
    assert place.segment == 1
    server.restart()
    assert server.home.problems == []
    assert held(server.home, "abc") == all_right("abc")


def test_the_same_chunk_twice_in_one_body(server: OneRepository) -> None:
    put(server.home, server.home.begin_session(ALICE, None), "aba")
    assert held(server.home, "ab") == all_right("ab")


# Sessions


def test_sessions_survive_a_restart(server: OneRepository) -> None:
    base = back_up(server.home, ALICE, "one", "abc")
    session = server.home.begin_session(ALICE, base)
    server.home.refer(ALICE, session, [chunk_id("d"), chunk_id("e")], [chunk_id("a")])
    server.restart()
    server.home.refer(ALICE, session, [chunk_id("a")], [chunk_id("e"), chunk_id("b")])
    put(server.home, session, "d")
    server.restart()
    receipt = server.home.commit(ALICE, session, commit_of("two", base, "acd"))
    assert receipt.sequence == 2


def test_a_chunk_referred_to_long_before_it_is_stored(server: OneRepository) -> None:
    session = server.home.begin_session(ALICE, None)
    server.home.refer(ALICE, session, [chunk_id("a")], [])
    server.restart()
    with pytest.raises(ChunksMissing) as caught:
        server.home.commit(ALICE, session, commit_of("one", None, "a"))
    assert caught.value.first == (chunk_id("a"),)
    put(server.home, session, "a")
    server.home.commit(ALICE, session, commit_of("one", None, "a"))


def test_idle_sessions_are_forgotten(server: OneRepository) -> None:
    session, other = (server.home.begin_session(ALICE, None) for _ in range(2))
    half = int(SESSION_IDLE_S * 1e9 / 2)
    server.clock.now_ns += half
    server.home.missing(session, [])
    server.clock.now_ns += half
    server.home.missing(session, [])
    with pytest.raises(SessionLost):
        server.home.missing(other, [])
    server.clock.now_ns += 2 * half
    server.restart()
    with pytest.raises(SessionLost):
        server.home.missing(session, [])


def test_a_session_that_only_asked_questions_is_not_idle(server: OneRepository) -> None:
    """The index is not told of those."""
    session = server.home.begin_session(ALICE, None)
    most = int(SESSION_IDLE_S * 0.9 * 1e9)
    for _ in range(3):
        server.clock.now_ns += most
        server.home.begin_session(BOB, None)  # which forgets what is idle
        server.home.missing(session, [])


def test_a_client_has_a_bounded_number_of_sessions(server: OneRepository) -> None:
    kept = server.home.begin_session(BOB, None)
    first = server.home.begin_session(ALICE, None)
    rest = [server.home.begin_session(ALICE, None) for _ in range(SESSIONS_PER_CLIENT_MAX)]
    with pytest.raises(SessionLost):
        server.home.missing(first, [])
    for session in [*rest, kept]:
        server.home.missing(session, [])
    # A backup that finds all its chunks has asked questions only: it is used all the same.
    server.home.missing(rest[0], [])
    server.home.begin_session(ALICE, None)
    server.home.missing(rest[0], [])
    with pytest.raises(SessionLost):
        server.home.missing(rest[1], [])


# Commits


def test_a_generation_id_is_used_once(server: OneRepository) -> None:
    back_up(server.home, ALICE, "one", "a")
    session = server.home.begin_session(BOB, None)
    with pytest.raises(RequestRefused):
        server.home.commit(BOB, session, commit_of("one", None, ""))


@pytest.mark.parametrize("change", ["client", "manifest", "chunks", "previous"])
def test_another_commit_with_the_same_generation_id(server: OneRepository, change: str) -> None:
    """Only what went through already is answered with its receipt: all else is refused."""
    first = back_up(server.home, ALICE, "one", "a")
    commit = commit_of("two", first, "ab")
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "abc")
    server.home.refer(ALICE, session, [chunk_id(name) for name in "ab"], [])
    receipt = server.home.commit(ALICE, session, commit)
    client = BOB if change == "client" else ALICE
    other = {
        "client": commit,
        "manifest": evolve(commit, manifest_id=chunk_id("another manifest")),
        "chunks": evolve(commit, chunks=commit_of("two", first, "ac").chunks),
        "previous": evolve(commit, previous=None),
    }[change]
    session = server.home.begin_session(client, None)
    with pytest.raises(RequestRefused):
        server.home.commit(client, session, other)
    assert server.home.commit(ALICE, session, commit) == receipt


def test_the_session_of_what_went_through_already_ends(server: OneRepository) -> None:
    """A client whose first answer was lost may have begun another one since."""
    first = back_up(server.home, ALICE, "one", "a")
    session = server.home.begin_session(ALICE, None)
    server.home.commit(ALICE, session, commit_of("one", None, "a"))
    assert server.home.session_count() == 0
    assert server.home.list_generations(0, 9)[-1].receipt.generation == first


def test_the_session_of_another_client_is_not_committed(server: OneRepository) -> None:
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "a")
    server.home.refer(ALICE, session, [chunk_id("a")], [])
    with pytest.raises(SessionLost):
        server.home.commit(BOB, session, commit_of("one", None, "a"))
    server.home.commit(ALICE, session, commit_of("one", None, "a"))


def test_generations_in_pages(server: OneRepository) -> None:
    for n in range(5):
        back_up(server.home, ALICE, str(n), "a")
    assert [s.receipt.sequence for s in server.home.list_generations(0, 3)] == [1, 2, 3]
    assert [s.receipt.sequence for s in server.home.list_generations(3, 3)] == [4, 5]
    assert server.home.generation_count() == 5


def test_generations_survive_a_restart(server: OneRepository) -> None:
    back_up(server.home, ALICE, "one", "ab")
    before = server.home.get_generation(generation_id("one"))
    server.restart()
    assert server.home.get_generation(generation_id("one")) == before
    assert server.home.latest(ALICE) == before
    assert server.home.latest(BOB) is None


# Keyring


def test_an_old_keyring_is_gone_for_good(server: OneRepository) -> None:
    def found(sealed: bytes) -> bool:
        return any(sealed in p.read_bytes() for p in segment_paths(server.data))

    old, new = "T2xkIGtleXJpbmc=", "TmV3IGtleXJpbmc="
    first = server.home.put_keyring([KeyringSlot("0" * 32, "old", b"Old keyring")], "0")
    assert found(old.encode())
    second = server.home.put_keyring([KeyringSlot("1" * 32, "new", b"New keyring")], first.etag)
    assert found(new.encode())
    assert not found(old.encode())
    server.restart()
    assert server.home.problems == []
    assert server.home.get_keyring() == second


def test_no_etag_comes_again(server: OneRepository) -> None:
    """Else who read the first keyring could replace the third one, and never saw the second."""
    slots = [KeyringSlot("0" * 32, "old", b"sealed")]
    first = server.home.put_keyring(slots, "0")
    second = server.home.put_keyring([], first.etag)
    third = server.home.put_keyring(slots, second.etag)
    assert third.slots == first.slots
    with pytest.raises(KeyringChanged):
        server.home.put_keyring([], first.etag)


def test_the_etag_of_another_copy_of_the_server_is_another(
    server: OneRepository, tmp_path: Path
) -> None:
    """Though as many keyrings came before it: the server may have gone back to an old copy."""
    first = server.home.put_keyring([], "0")
    server.store.close()
    copy = OneRepository(tmp_path / "copy")
    shutil.copytree(server.data, copy.data)
    server.start()
    copy.start()
    ours = server.home.put_keyring([KeyringSlot("0" * 32, "ours", b"sealed")], first.etag)
    theirs = copy.home.put_keyring([KeyringSlot("1" * 32, "theirs", b"sealed")], first.etag)
    copy.store.close()
    assert ours.etag != theirs.etag


# Chunks that cannot be read


def test_an_unreadable_chunk_is_missing_and_healed(server: OneRepository) -> None:
    base = back_up(server.home, ALICE, "one", "ab")
    path = segment_paths(server.data)[0]
    path.write_bytes(path.read_bytes()[: 32 + len(body_of("a")) + 50])
    with pytest.raises(DamagedSegment):
        held(server.home, "ab")
    # From now on the answer is about what there is.
    assert held(server.home, "ab") == all_right("a")
    assert server.home.damaged_chunk_count() == 1
    session = server.home.begin_session(ALICE, base)
    assert server.home.missing(session, [chunk_id("a"), chunk_id("b")]) == [False, True]
    with pytest.raises(ChunksMissing):
        server.home.commit(ALICE, session, commit_of("two", base, "ab"))
    put(server.home, session, "ab")
    assert held(server.home, "ab") == all_right("ab")
    assert server.home.damaged_chunk_count() == 0
    server.home.commit(ALICE, session, commit_of("two", base, "ab"))


def test_all_that_is_unreadable_is_found_at_once(server: OneRepository) -> None:
    """However many there are, and wherever they lie: whoever asks has to ask again only once."""
    back_up(server.home, ALICE, "one", "abcd")
    path = segment_paths(server.data)[0]
    path.write_bytes(path.read_bytes()[: 32 + len(body_of("a")) + 50])
    with pytest.raises(DamagedSegment):
        held(server.home, "dcba")  # backwards, so that each is read alone
    assert held(server.home, "dcba") == all_right("a")
    assert server.home.damaged_chunk_count() == 3
