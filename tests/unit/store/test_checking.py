"""Segments, index and generations: that differences are found, and repaired from either side."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.upkeep.checking import Finding
from obnam_server.store.upkeep.mending import Repair
from tests.support.scrubbed import (
    CHUNKS_1,
    CHUNKS_2,
    COMMIT_1,
    COMMIT_2,
    FIRST,
    KEYRING,
    SLOT,
    SpoiltServer,
    flip,
    scrub_now,
)
from tests.support.stored import (
    ALICE,
    all_right,
    back_up,
    body_of,
    chunk_id,
    generation_id,
    held,
    index_path,
    put,
    rebuilt_rows,
    sealed,
    segment_paths,
)


@define
class Server(SpoiltServer):
    """A store whose files and rows can be spoilt while it runs."""

    def sql(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect(index_path(self.data))
        connection.execute(statement, values)
        connection.commit()
        connection.close()

    def find(self) -> list[Finding]:
        return list(self.home.checking.find())

    def repair(self) -> None:
        """What is repaired is found no more."""
        for finding in self.find():
            assert finding.repair not in (Repair.NONE, Repair.RESTART)
            assert self.home.change(self.home.checking.repair, finding)
            assert not self.home.change(self.home.checking.repair, finding) or (
                finding.repair is Repair.PUT_ROWS
            )
        assert [f for f in self.find() if "damaged or lost" not in f.problem] == []
        assert self.home._index.leaving() == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server.begun(tmp_path / "data")
    yield server
    server.store.close()


def test_nothing_is_wrong(server: Server) -> None:
    before = rebuilt_rows(index_path(server.data))
    assert server.find() == []
    assert rebuilt_rows(index_path(server.data)) == before


@pytest.mark.parametrize("at", [-30, -1, 0, 20])
@pytest.mark.parametrize("which", range(1, 7))
def test_a_bad_header_or_trailer_is_written_anew(server: Server, which: int, at: int) -> None:
    flip(server.path(which), at)
    (finding,) = server.find()
    assert finding.segment == which
    assert finding.repair is Repair.REWRITE
    server.repair()
    assert not [p for p in segment_paths(server.data) if int(p.name, 16) == which]
    assert server.missing("abcd") == ""
    # What is mended is as good as it was: an index made anew finds everything in it.
    assert server.rebuild() == []
    assert server.find() == []
    assert held(server.home, "abcd") == all_right("abcd")
    for name in ("one", "two"):
        found = server.home.get_generation(generation_id(name))
        assert found.manifest == f"manifest of {name}".encode()
    assert server.home.get_keyring().slots == (SLOT,)
    assert generation_id("one") in server.home.decisions.register().pins
    assert scrub_now(server.home) == set()


def test_a_chunk_that_is_damaged_for_sure_is_left_out(server: Server) -> None:
    flip(server.path(CHUNKS_1), -30)
    flip(server.path(CHUNKS_1), FIRST + 5)
    server.repair()
    assert server.missing("abcd") == "a"
    server.rebuild()
    assert server.missing("abcd") == "a"
    put(server.home, server.home.begin_session(ALICE, None), "a")
    assert server.home.damaged_chunk_count() == 0


def test_a_chunk_that_nobody_can_check_is_kept(server: Server) -> None:
    flip(server.path(CHUNKS_1), 32 + len(body_of("abc")) + 40)  # where the entry says that a lies
    server.repair()
    assert server.missing("abcd") == ""
    assert scrub_now(server.home) == set()


def test_a_segment_that_is_cut(server: Server) -> None:
    os.truncate(server.path(CHUNKS_1), FIRST + len(sealed("a")) + 40)
    server.repair()
    assert server.missing("abcd") == "bc"
    assert held(server.home, "abcd") == all_right("ad")


def test_a_segment_that_is_gone(server: Server) -> None:
    server.path(CHUNKS_1).unlink()
    (finding,) = server.find()
    assert finding.repair is Repair.FORGET
    server.repair()
    assert server.missing("abcd") == "abc"
    assert [str(f) for f in server.find()] == [
        f"generation {generation_id('one')}: 3 of its chunks are damaged or lost "
        "(nothing can be done here)",
        f"generation {generation_id('two')}: 2 of its chunks are damaged or lost "
        "(nothing can be done here)",
    ]


@pytest.mark.parametrize("which", [COMMIT_1, KEYRING])
def test_what_only_that_segment_had_is_named(server: Server, which: int) -> None:
    server.path(which).unlink()
    (finding,) = server.find()
    assert (finding.segment, finding.repair) == (which, Repair.NONE)
    assert not server.home.change(server.home.checking.repair, finding)


@pytest.mark.parametrize("which", range(1, 7))
def test_a_segment_of_another_version_is_left_alone(server: Server, which: int) -> None:
    flip(server.path(which), 8)
    (finding,) = server.find()
    assert finding.repair is Repair.NONE
    assert "is of version 17" in finding.problem


def test_a_receipt_or_a_set_that_is_damaged(server: Server) -> None:
    content = server.path(COMMIT_1).read_bytes()
    flip(server.path(COMMIT_1), content.index(b"chunk set") + 40)
    server.repair()
    assert server.rebuild() == []
    flip(server.path(COMMIT_2), content.index(b'"previous"') + 3)
    (finding,) = server.find()
    assert finding.repair is Repair.NONE
    assert f"the commit of generation {generation_id('two')}" in finding.problem


def test_rows_that_the_index_has_lost(server: Server) -> None:
    server.sql("DELETE FROM chunks WHERE id = ?", chunk_id("a"))
    first, second = server.find()
    assert first.problem == "1 chunks are not known"
    assert second.problem == "the index does not know 1 of its chunks"
    assert server.home.change(server.home.checking.repair, first)
    assert server.find() == []
    assert held(server.home, "abcd") == all_right("abcd")


@pytest.mark.parametrize("by", [1, -1])
def test_rows_that_lead_elsewhere(server: Server, by: int) -> None:
    server.sql("UPDATE chunks SET offset = offset + ? WHERE id = ?", by, chunk_id("a"))
    (finding,) = server.find()
    assert finding.problem == "1 chunks do not lie where the index says"
    server.repair()
    assert held(server.home, "abcd") == all_right("abcd")


def test_chunks_of_a_generation_that_nothing_knows(server: Server) -> None:
    server.path(CHUNKS_2).unlink()
    server.sql("DELETE FROM chunks WHERE segment = ?", CHUNKS_2)
    server.sql("DELETE FROM segments WHERE number = ?", CHUNKS_2)
    (finding,) = server.find()
    assert finding.repair is Repair.PUT_LOST
    server.repair()
    assert server.home.damaged_chunk_count() == 1


def test_a_segment_that_the_index_does_not_know(server: Server) -> None:
    server.sql("DELETE FROM chunks WHERE segment = ?", CHUNKS_2)
    server.sql("DELETE FROM segments WHERE number = ?", CHUNKS_2)
    found = {(f.segment, f.repair) for f in server.find()}
    assert found == {(None, Repair.PUT_LOST), (CHUNKS_2, Repair.RESTART)}
    server.store.close()
    server.start()
    assert server.find() == []
    assert held(server.home, "abcd") == all_right("abcd")


def test_a_wrong_size_or_kind(server: Server) -> None:
    server.sql("UPDATE segments SET size = 7, kind = 2 WHERE number = ?", CHUNKS_1)
    before = server.home.used_bytes()
    assert len(server.find()) == 2
    server.repair()
    assert server.home.used_bytes() > before


def test_a_set_that_is_not_the_commits(server: Server) -> None:
    other = server.home._index.generation_set(generation_id("two"))
    assert other is not None
    server.sql(
        "UPDATE generations SET chunks = ? WHERE id = ?", other.serialize(), generation_id("one")
    )
    (finding,) = server.find()
    assert "rebuild-index" in finding.problem


@pytest.mark.parametrize(
    "change",
    [
        "partial = 1 - partial",
        "received = received + 1",
        "previous = id",
        "chunk_xor = zeroblob(33)",
        "manifest_id = chunk_xor",
        "offset = offset + 1",
    ],
)
def test_a_generation_of_which_the_index_says_other_things(server: Server, change: str) -> None:
    server.sql(f"UPDATE generations SET {change} WHERE id = ?", generation_id("one"))
    (finding,) = server.find()
    assert finding.what == f"generation {generation_id('one')}"
    assert "the index says other things of it" in finding.problem
    assert server.rebuild() == []
    assert server.find() == []


@pytest.mark.parametrize("more", [1, -1])
def test_a_set_of_another_size(server: Server, more: int) -> None:
    server.sql(
        "UPDATE generations SET chunk_count = chunk_count + ? WHERE id = ?",
        more,
        generation_id("one"),
    )
    problems = [finding.problem for finding in server.find()]
    assert f"its set has 3 chunks, and not {3 + more}" in problems
    assert len(problems) == 2


def test_chunks_in_a_segment_that_is_not_known(server: Server) -> None:
    server.path(CHUNKS_1).unlink()
    server.sql("DELETE FROM segments WHERE number = ?", CHUNKS_1)
    (finding,) = server.find()
    assert (finding.segment, finding.repair) == (CHUNKS_1, Repair.FORGET)
    assert server.home.change(server.home.checking.repair, finding)
    assert server.missing("abcd") == "abc"
    assert not server.home.change(server.home.checking.repair, finding)


def test_a_bad_copy_of_what_nobody_needs_is_no_row_that_is_lost(server: Server) -> None:
    """Its number is gone, and its segment has others."""
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "ef")
    flip(server.path(7), FIRST + 5)
    assert scrub_now(server.home) == {chunk_id("e")}
    server.home.end_session(ALICE, session)
    assert server.home.change(server.home.collection.forget_damaged) == 1
    assert server.find() == []


def test_a_segment_that_is_lost_outlives_the_index(server: Server) -> None:
    """So that its chunks get their numbers back when they are sent again."""
    server.path(CHUNKS_1).unlink()
    server.repair()
    server.rebuild()
    assert server.missing("abcd") == "a"  # of the others there are copies
    put(server.home, server.home.begin_session(ALICE, None), "abc")
    assert server.home.damaged_chunk_count() == 0
    server.rebuild()
    assert server.find() == []


def test_a_segment_that_is_there_again(server: Server) -> None:
    path = server.path(CHUNKS_1)
    path.rename(server.data / "elsewhere")
    (finding,) = server.find()
    assert finding.repair is Repair.FORGET
    (server.data / "elsewhere").rename(path)
    assert not server.home.change(server.home.checking.repair, finding)
    assert server.find() == []
    assert server.missing("abcd") == ""


@pytest.mark.parametrize("repair", [Repair.REWRITE, Repair.FORGET])
def test_what_is_sound_is_left_alone(server: Server, repair: Repair) -> None:
    finding = Finding("segment", "was not to be read", repair, SegmentNumber(CHUNKS_1))
    before = segment_paths(server.data)
    assert not server.home.change(server.home.checking.repair, finding)
    assert segment_paths(server.data) == before
    assert server.find() == []


def test_a_segment_that_was_replaced_and_is_still_there(server: Server) -> None:
    """It could not be deleted: what it lacked was found before."""
    path = server.path(CHUNKS_1)
    content = path.read_bytes()
    rewrite = server.home.collection.rewrite([SegmentNumber(CHUNKS_1)])
    for _ in rewrite.steps():
        pass
    assert server.home.change(server.home.collection.replace, rewrite)
    path.write_bytes(content)
    before = server.home.used_bytes()
    stale = Finding("segment", "is larger", Repair.PUT_ROWS, SegmentNumber(CHUNKS_1))
    assert not server.home.change(server.home.checking.repair, stale)
    assert server.home.used_bytes() == before
    (finding,) = server.find()
    assert (finding.segment, finding.problem) == (CHUNKS_1, "is not known")


def test_what_was_taken_for_gone_and_is_needed(server: Server) -> None:
    """After a crash: what is neither stored nor absent is gone."""
    server.store.close()
    server.path(CHUNKS_2).unlink()
    server.sql("DELETE FROM chunks WHERE segment = ?", CHUNKS_2)
    server.sql("DELETE FROM segments WHERE number = ?", CHUNKS_2)
    server.sql("UPDATE meta SET value = 0 WHERE name = 'clean'")
    server.start()
    index = server.home._index
    (number,) = index.gone()
    server.repair()
    assert list(index.absent()) == [number]
    assert not index.gone()


def test_other_peoples_files(server: Server) -> None:
    folder = server.path(CHUNKS_1).parent
    for path in (folder / "notes", folder / ("f" * 16), folder.parent / "lost+found"):
        path.write_bytes(b"")
    assert len(server.find()) == 3
    assert {f.repair for f in server.find()} == {Repair.NONE}


def test_it_runs_beside_everything_else(server: Server) -> None:
    """A check that is half-way when segments come and go says nothing about them."""
    findings = server.home.checking.find()
    back_up(server.home, ALICE, "three", "efg")
    assert list(findings) == []
    os.truncate(server.path(7), 5000 if server.path(7).stat().st_size > 5000 else 100)
    (finding, *_) = server.find()
    rewrite = server.home.collection.rewrite([SegmentNumber(CHUNKS_1)])
    for _ in rewrite.steps():
        pass
    server.home.change(server.home.collection.replace, rewrite)
    assert finding.segment == 7
    stale = Finding("segment", "gone", Repair.REWRITE, SegmentNumber(CHUNKS_1))
    assert not server.home.change(server.home.checking.repair, stale)
    server.repair()
    assert held(server.home, "abcd") == all_right("abcd")
