"""The scrub of one repository: what it finds, what it notes, and that it lasts."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam.wire.messages import KeyringSlot
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.segments.format import SegmentKind
from obnam_server.store.segments.parts import write_parts
from obnam_server.store.upkeep.damage import DAMAGE
from obnam_server.store.upkeep.scrubbing import Noted
from tests.support.scrubbed import (
    CHUNKS_1,
    CHUNKS_2,
    COMMIT_1,
    COMMIT_2,
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
    body_of,
    chunk_id,
    commit_of,
    generation_id,
    held,
    index_path,
    put,
    rebuilt_rows,
    rows_of,
    sealed,
    segment_paths,
)


def test_nothing_is_wrong(server: SpoiltServer) -> None:
    noted = server.scrub()
    assert noted == [Noted()] * 6
    (done,) = server.home.scrubbing.standing().passes
    assert done.ended_ns is not None
    assert done.damaged == 0
    assert done.size_bytes > sum(len(sealed(n)) for n in "abcd")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.unlink(), "abc"),
        (lambda path: path.write_bytes(b""), "abc"),
        (lambda path: os.truncate(path, FIRST + len(sealed("a"))), "bc"),
        (lambda path: os.truncate(path, FIRST + len(sealed("a")) - 1), "abc"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), ""),
    ],
    ids=["deleted", "empty", "cut", "cut within", "last byte"],
)
def test_a_segment_that_is_gone_or_cut(
    server: SpoiltServer, damage: Callable[[Path], None], expected: str
) -> None:
    damage(server.path(CHUNKS_1))
    noted = server.scrub()
    assert names(server.damaged(noted)) == expected
    assert noted[0].problem is not None
    assert server.missing("abcd") == expected
    assert server.home.scrubbing.standing().damaged == len(expected)
    assert len(server.home.scrubbing.standing().problems) == 1


def test_a_flipped_bit_is_missing_and_healed(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    assert held(server.home, "abcd")["a"] != sealed("a")
    assert names(server.damaged(server.scrub())) == "a"
    assert server.missing("abcd") == "a"
    put(server.home, server.home.begin_session(ALICE, None), "a")
    assert held(server.home, "abcd") == all_right("abcd")
    standing = server.home.scrubbing.standing()
    assert (standing.damaged, standing.healed) == (0, 1)
    # Nobody uses the bad copy any more, so that it is no damage.
    assert server.damaged(server.scrub()) == set()
    server.rebuild()
    assert held(server.home, "abcd") == all_right("abcd")


def test_damage_outlives_the_index(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    server.scrub()
    before = rebuilt_rows(index_path(server.data))
    absent = rows_of(index_path(server.data), "absent")
    for again in (server.restart, server.rebuild, server.rebuild):
        again()
        assert server.missing("abcd") == "a"
        assert server.home.damaged_chunk_count() == 1
        assert rebuilt_rows(index_path(server.data)) == before
        assert rows_of(index_path(server.data), "absent") == absent


def test_a_chunk_whose_segment_is_lost_gets_its_number_back(server: SpoiltServer) -> None:
    """So every generation that needs it is whole again, also when the index was lost, too."""
    server.path(CHUNKS_1).unlink()
    server.scrub()
    server.rebuild()
    page = server.home.damage(0)
    assert {c.chunk_id for c in page.chunks} <= {chunk_id(n) for n in "abc"}
    put(server.home, server.home.begin_session(ALICE, None), "abc")
    assert server.home.damaged_chunk_count() == 0
    session = server.home.begin_session(ALICE, generation_id("one"))
    server.home.commit(ALICE, session, commit_of("three", generation_id("two"), "abc"))
    server.rebuild()
    assert held(server.home, "abcd") == all_right("abcd")
    assert server.home.damaged_chunk_count() == 0


def test_who_needs_what_is_damaged(server: SpoiltServer) -> None:
    put(server.home, server.home.begin_session(ALICE, None), "e")  # which nobody needs
    server.path(CHUNKS_1).unlink()
    server.path(7).unlink()
    server.scrub()
    assert server.home.damaged_chunk_count() == 4
    one, two = generation_id("one"), generation_id("two")
    page = server.home.damage(0)
    found = {c.chunk_id: (c.generations, c.generation_count) for c in page.chunks}
    assert found == {
        chunk_id("a"): ((one,), 1),
        chunk_id("b"): ((two, one), 2),
        chunk_id("c"): ((two, one), 2),
    }
    assert page.next_from is None


def test_records_go_when_they_are_of_no_use(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    server.scrub()
    record = segment_paths(server.data)[-1]
    assert int(record.name, 16) == 7
    server.scrub()
    server.restart()
    assert record.exists()
    put(server.home, server.home.begin_session(ALICE, None), "a")
    server.scrub()
    assert not record.exists()
    server.rebuild()
    assert held(server.home, "abcd") == all_right("abcd")


def test_a_record_keeps_out_a_bad_copy_that_nobody_needs(server: SpoiltServer) -> None:
    """As long as the segment with it is there: a new index would take it for good."""
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "ef")
    server.flip(7, FIRST + 5)
    server.scrub()
    server.home.end_session(ALICE, session)
    assert server.home.change(server.home.collection.forget_damaged) == 1
    server.scrub()
    for again in (server.rebuild, server.restart, server.rebuild):
        assert server.missing("abcdef") == "e"
        again()
    assert server.home.change(server.home.collection.forget_damaged) == 1
    compact(server, 7)
    server.scrub()
    server.rebuild()
    assert server.missing("abcdef") == "ef"
    # Chunks, commits, keyring and register, and no record.
    assert len(segment_paths(server.data)) == 6


def test_a_record_that_can_neither_be_read_nor_is_needed_goes(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    server.scrub()
    server.flip(7, FIRST + 1)
    put(server.home, server.home.begin_session(ALICE, None), "a")
    server.restart()
    assert not [path for path in segment_paths(server.data) if int(path.name, 16) == 7]
    assert server.home.damaged_chunk_count() == 0


def test_a_record_of_an_odd_length_is_named(server: SpoiltServer) -> None:
    home = server.home._home
    written = write_parts(home, SegmentKind.DAMAGE, SegmentNumber(7), 0, {DAMAGE: bytes(50)})
    assert written.summary.segment == 7
    (problem,) = server.rebuild()
    assert "0007: is no record of damage" in problem
    assert server.missing("abcd") == ""


def test_more_generations_than_are_told(
    server: SpoiltServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obnam_server.store.upkeep.damage.DAMAGE_GENERATIONS_MAX", 1)
    server.flip(CHUNKS_2, FIRST + 5)
    server.flip(CHUNKS_1, FIRST + len(sealed("a")) + 37 + 5)
    server.scrub()
    (chunk,) = server.home.damage(0).chunks
    assert (chunk.generations, chunk.generation_count) == ((generation_id("two"),), 2)


def test_a_damaged_record_is_written_anew(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    server.scrub()
    server.flip(7, FIRST + 1)
    (noted,) = [each for each in server.scrub() if each.problem]
    assert noted.problem is not None
    assert "a record of damage; it is written anew" in noted.problem
    assert not [p for p in segment_paths(server.data) if int(p.name, 16) == 7]
    server.rebuild()
    assert server.missing("abcd") == "a"


def test_a_damaged_trailer_and_good_chunks(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, -30)
    (first, *_) = server.scrub()
    assert first == Noted((), "its trailer does not match its checksum")
    assert held(server.home, "abcd") == all_right("abcd")


def test_a_damaged_trailer_still_tells_of_its_other_entries(server: SpoiltServer) -> None:
    body_end = 32 + len(body_of("abc"))
    server.flip(CHUNKS_1, body_end + 68)  # the digest of a
    server.flip(CHUNKS_1, FIRST + len(sealed("a")) + 37)  # b itself
    (first, *_) = server.scrub()
    # a has changed, as far as anybody can tell; that b has is sure.
    assert names(set(first.damaged)) == "ab"
    server.flip(CHUNKS_1, body_end + 2 * 69 + 40)  # where c lies: nobody knows its digest now
    (first, *_) = server.scrub()
    assert first.damaged == ()
    assert first.problem is not None
    assert "1 chunks in it cannot be checked" in first.problem
    assert held(server.home, "cd") == all_right("cd")


def test_all_damage_of_a_pass_is_counted(server: SpoiltServer) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    server.flip(CHUNKS_2, FIRST + len(sealed("b")) + 37 + len(sealed("c")) + 37 + 5)
    server.scrub()
    (scrub,) = server.home.scrubbing.standing().passes
    assert scrub.damaged == 2


@pytest.mark.parametrize("which", range(1, 5))
def test_a_segment_of_another_version_is_named(server: SpoiltServer, which: int) -> None:
    server.flip(which, 8)
    server.scrub()
    (problem,) = server.home.scrubbing.standing().problems
    assert "is of version 17" in problem


def test_a_segment_of_another_kind_than_the_index_says_is_named(server: SpoiltServer) -> None:
    connection = sqlite3.connect(index_path(server.data))
    connection.execute("UPDATE segments SET kind = 2 WHERE number = ?", (CHUNKS_1,))
    connection.commit()
    connection.close()
    server.scrub()
    (problem,) = server.home.scrubbing.standing().problems
    assert "is of kind 1, and not of 2" in problem


def test_what_readers_met_is_recorded_by_the_next_pass(server: SpoiltServer) -> None:
    start = FIRST + len(sealed("b")) + 37 + len(sealed("c")) + 37
    os.truncate(server.path(CHUNKS_2), start + 40)
    with pytest.raises(DamagedSegment):
        held(server.home, "abcd")
    server.scrub()
    server.rebuild()
    assert server.home.damaged_chunk_count() == 1
    put(server.home, server.home.begin_session(ALICE, None), "d")
    assert server.home.damaged_chunk_count() == 0


def test_a_commit_is_named(server: SpoiltServer) -> None:
    server.flip(COMMIT_1, FIRST + 3)
    server.flip(COMMIT_2, -30)
    problems = [each.problem for each in server.scrub() if each.problem]
    one, two = generation_id("one"), generation_id("two")
    assert problems == [
        f"is damaged (manifest): the commit of generation {one}",
        f"its trailer does not match its checksum: the commit of generation {two}",
    ]
    assert len(server.home.scrubbing.standing().problems) == 2


@pytest.mark.parametrize("at", [FIRST + 3, -60, 9])
def test_a_register_is_written_anew(server: SpoiltServer, at: int) -> None:
    server.flip(REGISTER, at)
    before = server.home.decisions.register()
    (problem,) = [each.problem for each in server.scrub() if each.problem]
    assert problem.endswith("the register; it is written anew")
    assert server.home.scrubbing.standing().problems == []
    server.rebuild()
    assert server.home.decisions.register().pins == before.pins


def test_a_keyring_with_a_bad_trailer_is_written_anew(server: SpoiltServer) -> None:
    server.flip(KEYRING, -60)
    (problem,) = [each.problem for each in server.scrub() if each.problem]
    assert problem.endswith("the keyring; it is written anew")
    server.rebuild()
    assert server.home.problems == []
    assert server.home.get_keyring().slots == (KeyringSlot("0" * 32, "slot", b"sealed"),)


def test_a_damaged_keyring_is_named_each_time(server: SpoiltServer) -> None:
    server.flip(KEYRING, FIRST + 30)
    for _ in range(2):
        (problem,) = [each.problem for each in server.scrub() if each.problem]
        assert problem == "is damaged (keyring): the keyring"
