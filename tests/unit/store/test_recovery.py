"""What opening a repository makes of segments that the index does not know, and of lost ones."""

import os
import sqlite3

from obnam.wire.messages import KeyringSlot
from tests.support.scrubbed import (
    CHUNKS_1,
    CHUNKS_2,
    COMMIT_1,
    FIRST,
    KEYRING,
    SpoiltServer,
    break_chunk,
    compact,
)
from tests.support.stored import (
    ALICE,
    BOB,
    all_right,
    back_up,
    chunk_id,
    generation_id,
    held,
    index_path,
    put,
    sealed,
    segment_paths,
)

# Numbers are never given twice


def test_a_new_chunk_after_a_new_index(server: SpoiltServer) -> None:
    server.rebuild()
    put(server.home, server.home.begin_session(BOB, None), "z")
    numbers = server.home._index.stored_numbers([chunk_id(name) for name in "abcdz"])
    assert len(set(numbers.values())) == 5


def test_a_new_chunk_is_not_taken_for_one_that_was_lost(server: SpoiltServer) -> None:
    """Nothing but the chunk set of a generation tells its number then."""
    server.path(CHUNKS_2).unlink()
    (problem,) = server.rebuild()
    assert "lacks 1 chunks" in problem
    put(server.home, server.home.begin_session(BOB, None), "z")
    assert server.home.damaged_chunk_count() == 1
    problems = [finding.problem for finding in server.home.checking.find()]
    assert problems == ["1 of its chunks are damaged or lost"]


def test_a_new_chunk_is_not_taken_for_one_that_is_recorded_as_damaged(server: SpoiltServer) -> None:
    session = server.home.begin_session(BOB, None)
    put(server.home, session, "e")
    break_chunk(server.data, server.home, chunk_id("e"))
    server.path(7).unlink()
    server.rebuild()
    assert server.home.damaged_chunk_count() == 1
    put(server.home, server.home.begin_session(BOB, None), "z")
    assert server.home.damaged_chunk_count() == 1
    assert server.home.scrubbing.standing().healed == 0


# Chunks that were collected, and came again under another number


def test_old_copies_that_a_crash_left_behind_are_not_used(server: SpoiltServer) -> None:
    """A segment lists them under their old number, by which compaction would leave them out."""
    old = server.path(CHUNKS_1).read_bytes()
    path = server.path(CHUNKS_1)
    server.home.change(server.home.decisions.unpin, generation_id("one"))
    server.home.change(server.home.decisions.delete, [generation_id("one")], "admin", "old")
    server.home.change(server.home.decisions.expunge, [generation_id("one")])
    compact(server, CHUNKS_1)
    back_up(server.home, BOB, "theirs", "az")
    server.store.close()
    path.write_bytes(old)
    server.start()
    assert server.home.problems == []
    shares = server.home.collection.shares()
    compact(server, *[share.segment for share in shares])
    for again in (server.restart, server.rebuild):
        assert held(server.home, "abcdz") == all_right("abcdz")
        again()
        assert server.home.problems == []


def test_what_was_damaged_and_came_again_is_there_after_a_rebuild(server: SpoiltServer) -> None:
    """Though a record says that it is damaged, under its old number."""
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "e")
    break_chunk(server.data, server.home, chunk_id("e"))
    server.home.end_session(ALICE, session)
    assert server.home.change(server.home.collection.forget_damaged) == 1
    back_up(server.home, BOB, "theirs", "e")
    assert server.rebuild() == []
    assert held(server.home, "abcde") == all_right("abcde")
    assert server.home.damaged_chunk_count() == 0


# Lost segments


def test_a_copy_elsewhere_is_found_before_a_segment_is_called_lost(server: SpoiltServer) -> None:
    """The index is older than the second segment, and the first one is gone."""
    back_up(server.home, BOB, "theirs", "e")
    server.store.close()
    before = index_path(server.data).read_bytes()
    server.start()
    back_up(server.home, BOB, "again", "bcx")
    server.store.close()
    index_path(server.data).write_bytes(before)
    server.path(CHUNKS_1).unlink()
    server.path(CHUNKS_2).unlink()
    server.start()
    lost = [problem for problem in server.home.problems if "is lost" in problem]
    assert [line.rpartition(": ")[2] for line in lost] == [
        "is lost, and 1 chunks with it",
        "is lost, and 1 chunks with it",
    ]
    assert server.missing("abcdex") == "ad"


def test_lost_commits_are_told(server: SpoiltServer) -> None:
    server.path(COMMIT_1).unlink()
    (problem,) = server.rebuild()
    assert problem.startswith("1 commits, 1 to 1, are lost, before segment ")
    assert [each.receipt.sequence for each in server.home.list_generations(0, 9)] == [2]


def test_expunged_commits_are_not_called_lost(server: SpoiltServer) -> None:
    server.home.change(server.home.decisions.unpin, generation_id("one"))
    server.home.change(server.home.decisions.delete, [generation_id("one")], "admin", "old")
    server.home.change(server.home.decisions.expunge, [generation_id("one")])
    assert server.rebuild() == []


def unclean(server: SpoiltServer) -> None:
    """As after a crash."""
    connection = sqlite3.connect(index_path(server.data))
    connection.execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
    connection.commit()
    connection.close()


def test_a_segment_that_was_cut_is_found_after_a_crash(server: SpoiltServer) -> None:
    server.store.close()
    unclean(server)
    os.truncate(server.path(CHUNKS_1), FIRST + len(sealed("a")) + 40)
    server.start()
    (problem,) = server.home.problems
    assert problem.endswith("; 2 chunks in it are damaged")
    assert server.missing("abcd") == "bc"


def test_what_is_damaged_is_not_gone(server: SpoiltServer) -> None:
    """It may come back, under its number."""
    break_chunk(server.data, server.home, chunk_id("a"))
    server.store.close()
    unclean(server)
    server.start()
    index = server.home._index
    assert len(index.absent()) == 1
    assert not index.gone() & index.absent()


def test_a_commit_that_was_written_anew_and_not_noted(server: SpoiltServer) -> None:
    """The server died before the index heard of it: the damaged one goes, not the new one."""
    server.flip(COMMIT_1, -1)
    (finding,) = server.home.checking.find()
    server.store.close()
    index, old = index_path(server.data).read_bytes(), server.path(COMMIT_1).read_bytes()
    path = server.path(COMMIT_1)
    server.start()
    assert server.home.change(server.home.checking.repair, finding)
    server.store.close()
    index_path(server.data).write_bytes(index)
    path.write_bytes(old)
    server.start()
    assert server.home.problems == []
    assert not path.exists()
    for again in (server.restart, server.rebuild):
        assert list(server.home.checking.find()) == []
        again()
        assert server.home.problems == []
        manifest = server.home.get_generation(generation_id("one")).manifest
        assert manifest == b"manifest of one"


# The keyring


def test_an_old_keyring_never_comes_back(server: SpoiltServer) -> None:
    """A passphrase that was given up must not open anything, though a crash left its slot."""
    path, old = server.path(KEYRING), server.path(KEYRING).read_bytes()
    etag = server.home.get_keyring().etag
    slots = (KeyringSlot("1" * 32, "another", b"sealed"),)
    server.store.close()
    index = index_path(server.data).read_bytes()
    server.start()
    server.home.put_keyring(slots, etag)
    for change in (
        # The old one could not be deleted.
        lambda: None,
        # The index knows only the old one.
        lambda: index_path(server.data).write_bytes(index),
        # The index knows neither.
        lambda: index_path(server.data).unlink(),
    ):
        server.store.close()
        path.write_bytes(old)
        change()
        server.start()
        assert server.home.problems == []
        assert server.home.get_keyring().slots == slots
        assert not path.exists()
    assert len(segment_paths(server.data)) == 6
