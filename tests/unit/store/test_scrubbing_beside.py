"""The scrub beside everything else: restarts, full disks, collection and compaction."""

import errno
import os

import pytest

from obnam.wire.messages import KeyringSlot
from obnam_server.store.errors import DamagedSegment, StoreFailed, StoreFull
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.upkeep.scrubbing import Noted
from obnam_server.store.upkeep.segment_check import PIECE_BYTES
from tests.support.scrubbed import (
    CHUNKS_1,
    CHUNKS_2,
    FIRST,
    KEYRING,
    REGISTER,
    SpoiltServer,
    compact,
    names,
)
from tests.support.stored import (
    ALICE,
    all_right,
    back_up,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
    put,
    sealed,
)


def test_a_segment_that_goes_meanwhile_is_no_damage(server: SpoiltServer) -> None:
    scrub = server.home.change(server.home.scrubbing.begin)
    check = server.home.scrubbing.check(SegmentNumber(KEYRING - 1))
    assert check is not None
    etag = server.home.get_keyring().etag
    server.home.put_keyring([KeyringSlot("1" * 32, "other", b"sealed")], etag)
    while check.step():
        pass
    assert check.result is not None
    assert check.result.problem is not None
    assert server.home.change(server.home.scrubbing.note, scrub, check.result) == Noted()


def test_a_chunk_that_is_healed_meanwhile_is_no_damage(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    scrub = server.home.change(server.home.scrubbing.begin)
    first = server.home.scrubbing.check(SegmentNumber(0))
    second = server.home.scrubbing.check(SegmentNumber(0))
    for check in (first, second):
        assert check is not None
        while check.step():
            pass
        assert check.result is not None
        noted = server.home.change(server.home.scrubbing.note, scrub, check.result)
        if check is first:
            assert names(set(noted.damaged)) == "a"
            put(server.home, server.home.begin_session(ALICE, None), "a")
    assert noted == Noted(current=False)
    assert held(server.home, "abcd") == all_right("abcd")


def test_a_chunk_that_is_healed_before_its_damage_is_noted_is_none(server: SpoiltServer) -> None:
    """Two checks found it, and in between it was sent again: what is stored now is good."""
    server.flip(CHUNKS_1, FIRST + 5)
    scrub = server.home.change(server.home.scrubbing.begin)
    checks = [server.home.scrubbing.check(SegmentNumber(0)) for _ in range(2)]
    found = []
    for check in checks:
        assert check is not None
        while check.step():
            pass
        found.append(check.checked())
    assert [len(each.bad) for each in found] == [1, 1]
    assert len(server.home.change(server.home.scrubbing.note, scrub, found[0]).damaged) == 1
    put(server.home, server.home.begin_session(ALICE, None), "a")
    assert server.home.change(server.home.scrubbing.note, scrub, found[1]).damaged == ()
    assert server.missing("abcd") == ""
    assert held(server.home, "abcd") == all_right("abcd")


def test_a_pass_goes_on_after_a_restart(server: SpoiltServer) -> None:
    server.scrub(segments=2)
    (before,) = server.home.scrubbing.standing().passes
    assert before.segment == 2
    server.restart()
    assert server.home.scrubbing.standing().passes == [before]
    assert len(server.scrub(before)) == 4
    server.scrub()
    newest, older = server.home.scrubbing.standing().passes
    assert older.began_ns == before.began_ns
    assert newest.began_ns > older.began_ns
    server.scrub()
    assert len(server.home.scrubbing.standing().passes) == 2


def test_the_clock_may_jump_back(server: SpoiltServer) -> None:
    server.scrub()
    server.clock.now_ns -= 10**18
    server.scrub()
    newest, older = server.home.scrubbing.standing().passes
    assert newest.began_ns == older.began_ns + 1


def test_large_frames_are_read_in_pieces(server: SpoiltServer) -> None:
    from obnam.wire.frames import pack_header

    large = bytes(3 * PIECE_BYTES + 17)
    body = b"".join(
        pack_header(chunk_id(n), len(c)) + c for n, c in (("e", large), ("f", b"x"), ("g", large))
    )
    session = server.home.begin_session(ALICE, None)
    server.home.accept(session, finished(server.home, body, 1 << 20))
    check = server.home.scrubbing.check(SegmentNumber(REGISTER))
    assert check is not None
    sizes = []
    while size := check.step():
        sizes.append(size)
    assert max(sizes) <= 2 * PIECE_BYTES
    assert len(sizes) >= 6
    assert check.result is not None
    assert check.result.bad == []
    server.flip(7, FIRST + 2 * PIECE_BYTES)
    assert names(server.damaged(server.scrub())) == "e"


def test_a_disk_that_cannot_read_is_damage_and_a_full_table_of_files_is_not(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, code = os.pread, errno.EIO
    at = FIRST + len(sealed("a")) + 37
    size = server.path(CHUNKS_1).stat().st_size

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_size == size and offset <= at < offset + length:
            raise OSError(code, os.strerror(code))
        return real(descriptor, length, offset)

    monkeypatch.setattr("os.pread", failing)
    code = errno.ENOMEM
    with pytest.raises(StoreFailed):
        server.scrub()
    assert server.missing("abcd") == ""
    code = errno.EIO
    assert names(server.damaged(server.scrub())) == "b"
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        assert held(server.home, "abcd") == all_right("abcd")
    assert server.missing("abcd") == "b"


def test_a_full_disk(server: SpoiltServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damage is known; it is written down when there is room again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.flip(CHUNKS_1, FIRST + 5)
    monkeypatch.setattr("obnam_server.store.disk.files.LocalFiles.append", full)
    with pytest.raises(StoreFull):
        server.scrub()
    assert server.missing("abcd") == "a"
    server.restart()
    assert "not written down" in server.home.problems[0]
    assert server.missing("abcd") == "a"
    monkeypatch.undo()
    server.restart()
    assert server.home.problems == []
    server.rebuild()
    assert server.missing("abcd") == "a"


def test_what_readers_met_is_written_down_too(server: SpoiltServer) -> None:
    start = FIRST + len(sealed("b")) + 37 + len(sealed("c")) + 37
    os.truncate(server.path(CHUNKS_2), start + 40)
    with pytest.raises(DamagedSegment):
        held(server.home, "abcd")
    assert server.missing("abcd") == "d"
    server.restart()
    server.rebuild()
    assert server.missing("abcd") == "d"
    put(server.home, server.home.begin_session(ALICE, None), "d")
    assert server.home.damaged_chunk_count() == 0


# Beside collection and compaction


def test_a_segment_with_a_damaged_chunk_can_be_compacted(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    with pytest.raises(DamagedSegment):
        compact(server, CHUNKS_1)
    server.scrub()
    compact(server, CHUNKS_1)
    for again in (server.scrub, server.restart, server.rebuild):
        again()
        assert server.missing("abcd") == "a"
        assert held(server.home, "abcd") == all_right("bcd")
    put(server.home, server.home.begin_session(ALICE, None), "a")
    server.scrub()
    server.rebuild()
    assert held(server.home, "abcd") == all_right("abcd")
    session = server.home.begin_session(ALICE, generation_id("one"))
    server.home.commit(ALICE, session, commit_of("three", generation_id("two"), "abc"))


def test_a_compacted_chunk_that_is_damaged_and_healed(server: SpoiltServer) -> None:
    compact(server, CHUNKS_1)
    server.flip(7, FIRST + 5)
    assert names(server.damaged(server.scrub())) == "a"
    put(server.home, server.home.begin_session(ALICE, None), "a")
    server.scrub()
    for again in (server.restart, server.rebuild):
        again()
        assert held(server.home, "abcd") == all_right("abcd")


def test_compaction_under_a_check(server: SpoiltServer) -> None:
    scrub = server.home.change(server.home.scrubbing.begin)
    check = server.home.scrubbing.check(SegmentNumber(0))
    assert check is not None
    compact(server, CHUNKS_1)
    while check.step():
        pass
    assert check.result is not None
    assert server.home.change(server.home.scrubbing.note, scrub, check.result) == Noted()
    assert held(server.home, "abcd") == all_right("abcd")


def test_damage_that_nobody_needs_is_forgotten(server: SpoiltServer) -> None:
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "e")
    server.flip(7, FIRST + 5)
    server.scrub()
    assert server.home.change(server.home.collection.forget_damaged) == 0  # a session needs it
    server.home.end_session(ALICE, session)
    assert server.home.damaged_chunk_count() == 1
    assert server.home.change(server.home.collection.forget_damaged) == 1
    assert server.home.damaged_chunk_count() == 0
    # It comes again, with another number; the bad copy is still there.
    for _ in range(2):
        back_up(server.home, ALICE, "three", "e") if not _ else server.rebuild()
        assert held(server.home, "abcde") == all_right("abcde")
        server.scrub()
        server.restart()
        assert server.home.problems == []
        assert server.home.damaged_chunk_count() == 0
    server.rebuild()
    assert held(server.home, "abcde") == all_right("abcde")
