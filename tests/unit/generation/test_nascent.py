"""A generation while it is made: rows, uses of chunks, hard links, checkpoints."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obnam.errors import DamagedGeneration
from obnam.generation import pages
from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import NascentGeneration
from obnam.generation.rows import EntryRow, ExtentRow, Orphan
from obnam.model.entry import Kind, Reason
from tests.unit.generation.rows import (
    ERROR,
    chunk_id,
    describe,
    directory_row,
    entry_count,
    finished,
    row,
    uses,
)

FILE = Kind.FILE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database"


@pytest.fixture
def nascent(path: Path) -> Iterator[NascentGeneration]:
    """With chunks 1 to 5, of which each is used when a test says so."""
    nascent = NascentGeneration.create(path, 1)
    numbers = nascent.add_chunks((chunk_id(n), 100 * n) for n in range(1, 6))
    assert numbers == {chunk_id(n): n for n in range(1, 6)}
    yield nascent
    nascent.close()


def end(nascent: NascentGeneration) -> LocalGeneration:
    describe(nascent)
    nascent.finish()
    nascent.close()
    return LocalGeneration(nascent.path)


def put_file(
    nascent: NascentGeneration, directory: int, name: bytes, chunk: int, inode: int = 9
) -> None:
    nascent.put([row(directory, name, chunk=chunk, start=0, inode=inode)])
    nascent.count_uses({chunk: 1})


def put_large(nascent: NascentGeneration, directory: int, name: bytes, *chunks: int) -> int:
    number = nascent.new_file()
    nascent.put_extents(number, [ExtentRow(at * 10, c, 0, 10) for at, c in enumerate(chunks)])
    nascent.put([row(directory, name, number=number, inode=9)])
    return number


def rows_of(local: LocalGeneration) -> dict[bytes, EntryRow]:
    return {entry.path: entry.row for entry in local.walk()}


# What is known


def test_known_is_by_ranges_of_names(nascent: NascentGeneration) -> None:
    nascent.put([row(7, name) for name in (b"a", b"b", b"b2", b"c", b"\xff")])
    nascent.put([row(8, b"b")])
    assert set(nascent.known(7)) == {b"a", b"b", b"b2", b"c", b"\xff"}
    assert set(nascent.known(7, b"b")) == {b"b2", b"c", b"\xff"}
    assert set(nascent.known(7, b"a", b"b2")) == {b"b", b"b2"}
    assert set(nascent.known(7, b"c", b"d")) == set()
    assert nascent.known(9) == {}


def test_what_is_to_be_read_again_is_by_ranges_of_names(nascent: NascentGeneration) -> None:
    assert nascent.to_read_again(1, [b"a", b"b"]) == frozenset()
    nascent.read_again([(1, b"a"), (1, b"c"), (2, b"b"), (1, b"a")])
    assert nascent.to_read_again(1, [b"a", b"b", b"c"]) == {b"a", b"c"}
    assert nascent.to_read_again(1, [b"b", b"c"]) == {b"c"}
    assert nascent.to_read_again(1, [b"a"]) == {b"a"}
    assert nascent.to_read_again(2, [b"a", b"b"]) == {b"b"}
    assert nascent.to_read_again(1, []) == frozenset()


def test_known_says_what_planning_needs(nascent: NascentGeneration) -> None:
    columns: dict[str, Any] = {
        "size": 1,
        "mtime_ns": -2,
        "ctime_ns": 3,
        "inode": 4,
        "device": 5,
        "number": 6,
    }
    nascent.put([row(7, b"a", reason=2, since=9, **columns)])
    assert nascent.known(7)[b"a"]._asdict() == {
        "name": b"a", "kind": 1, "reason": 2, "since": 9, **columns,
    }  # fmt: skip


def test_numbers_go_on_in_the_next_generation(nascent: NascentGeneration, path: Path) -> None:
    assert [nascent.new_directory() for _ in range(3)] == [1, 2, 3]
    assert nascent.new_file() == 1
    end(nascent).close()
    after = NascentGeneration.begin_from(path, 2)
    assert (after.new_directory(), after.new_file()) == (4, 2)
    assert after.add_chunks([(chunk_id(9), 1)]) == {chunk_id(9): 6}
    after.close()


# Chunks and their uses


def test_chunks_keep_their_numbers(nascent: NascentGeneration) -> None:
    numbers = nascent.add_chunks([(chunk_id(3), 300), (chunk_id(8), 800), (chunk_id(8), 800)])
    assert numbers == {chunk_id(3): 3, chunk_id(8): 6}
    many = [chunk_id(n) for n in range(1, 2000)]
    assert nascent.find_chunks(many) == {chunk_id(n): n for n in range(1, 6)} | {chunk_id(8): 6}


def test_chunks_of_no_use_are_forgotten(nascent: NascentGeneration, path: Path) -> None:
    put_file(nascent, 0, b"a", 2)
    put_file(nascent, 0, b"b", 2)
    put_large(nascent, 0, b"c", 3, 4, 3)
    added = set(nascent.added_chunks(nascent.first_new_chunk))
    assert added == {chunk_id(2), chunk_id(3), chunk_id(4)}
    assert list(nascent.removed_chunks()) == []
    end(nascent).close()
    assert uses(path) == {2: 2, 3: 2, 4: 1}


def test_what_comes_and_what_goes(nascent: NascentGeneration, path: Path) -> None:
    put_file(nascent, 0, b"a", 1)
    put_file(nascent, 0, b"b", 2)
    put_large(nascent, 0, b"c", 3, 4)
    end(nascent).close()
    after = NascentGeneration.begin_from(path, 2)
    assert list(after.added_chunks(after.first_new_chunk)) == []
    assert list(after.removed_chunks()) == []
    after.release(0, [b"b", b"not there"])
    numbers = after.add_chunks([(chunk_id(20), 1), (chunk_id(4), 400)])
    after.drop(0, [b"c"])
    put_file(after, 0, b"b", numbers[chunk_id(20)])
    put_file(after, 0, b"d", numbers[chunk_id(4)])  # in use again
    assert list(after.added_chunks(after.first_new_chunk)) == [chunk_id(20)]
    assert sorted(after.removed_chunks()) == [chunk_id(2), chunk_id(3)]
    end(after).close()
    assert uses(path) == {1: 1, 4: 1, 6: 1}


def test_a_file_that_gets_no_row(nascent: NascentGeneration, path: Path) -> None:
    number = nascent.new_file()
    nascent.put_extents(number, [ExtentRow(0, 1, 0, 5), ExtentRow(5, 2, 0, 5)])
    nascent.release_file(number)
    end(nascent).close()
    assert uses(path) == {}


# Entries


def test_a_directory_goes_with_all_beneath_it(nascent: NascentGeneration, path: Path) -> None:
    nascent.put([directory_row(0, b"/r", 1), directory_row(1, b"d", 2), directory_row(2, b"e", 3)])
    put_file(nascent, 2, b"in d", 1)
    put_file(nascent, 3, b"in e", 1)
    put_large(nascent, 3, b"large in e", 2, 3)
    put_file(nascent, 1, b"beside", 4)
    nascent.drop(1, [b"d", b"nothing"])
    local = end(nascent)
    assert set(rows_of(local)) == {b"/r", b"/r/beside"}
    local.close()
    assert entry_count(path) == 2
    assert uses(path) == {4: 1}


def test_a_row_that_is_put_again_replaces_the_other(nascent: NascentGeneration) -> None:
    nascent.put([row(0, b"a", size=1)])
    nascent.put([row(0, b"a", size=2)])
    local = end(nascent)
    found = local.entry(0, b"a")
    assert found is not None
    assert found.size == 2
    local.close()


def test_unchanged_rows_leave_their_pages_alone(nascent: NascentGeneration, path: Path) -> None:
    nascent.put(row(d, b"%04d" % n, inode=n) for d in range(1, 20) for n in range(200))
    end(nascent).close()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    after = NascentGeneration.begin_from(path, 2)
    after.put([row(10, b"0100", inode=1)])
    end(after).close()
    assert len(pages.changed_pages(copy, path)) <= 3 < pages.count_pages(path)


def test_marking_errors(nascent: NascentGeneration) -> None:
    nascent.sequence = 5
    nascent.put([row(0, b"kept", chunk=1, start=0), row(0, b"bare", checksum=None)])
    nascent.put([directory_row(0, b"dir", 1), row(0, b"link", Kind.SYMLINK, target=b"x")])
    assert nascent.mark_error(0, b"kept")
    assert nascent.mark_error(0, b"dir")
    assert nascent.mark_error(0, b"link")
    assert not nascent.mark_error(0, b"bare")
    assert not nascent.mark_error(0, b"nothing")
    known = nascent.known(0)
    assert {name: (r.reason, r.since) for name, r in known.items()} == {
        b"kept": (ERROR, 5), b"dir": (ERROR, 5), b"link": (ERROR, 5), b"bare": (1, 1),
    }  # fmt: skip


def test_setting_reasons(nascent: NascentGeneration) -> None:
    nascent.put([directory_row(0, b"a", 1)])
    nascent.set_reason(0, b"a", Reason.SKIPPED, 3)
    nascent.set_reason(0, b"nothing", Reason.SKIPPED, 3)
    assert {n: (r.reason, r.since) for n, r in nascent.known(0).items()} == {b"a": (5, 3)}


# Hard links


def test_links_get_the_content_of_the_first(nascent: NascentGeneration, path: Path) -> None:
    assert not nascent.follow(1, 9, 0, b"a", 1, 1)
    assert nascent.follow(1, 9, 0, b"b", 2, 1)
    assert not nascent.follow(1, 8, 0, b"other", 1, 1)  # another file
    assert not nascent.follow(2, 9, 0, b"another", 1, 1)  # on another device
    nascent.put([row(0, b"a", chunk=3, start=7, inode=9, device=1, mode=0o600)])
    nascent.count_uses({3: 1})
    assert nascent.settle() == []
    local = end(nascent)
    a, b = local.entry(0, b"a"), local.entry(0, b"b")
    assert a is not None
    assert b == a._replace(name=b"b", reason=2)
    local.close()
    assert uses(path) == {3: 2}


def test_links_of_a_file_in_several_extents(nascent: NascentGeneration, path: Path) -> None:
    nascent.follow(1, 9, 0, b"a", 1, 1)
    nascent.follow(1, 9, 0, b"b", 1, 1)
    nascent.follow(1, 9, 0, b"c", 1, 1)
    first = put_large(nascent, 0, b"a", 1, 2, 1)
    assert nascent.settle() == []
    local = end(nascent)
    rows = [local.entry(0, name) for name in (b"a", b"b", b"c")]
    assert rows[0] is not None
    extents = [local.extents(each) for each in rows if each is not None]
    assert extents == [extents[0]] * 3
    assert len(extents[0]) == 3
    # Each by its own number, so that one can go without the others.
    assert len({each.number for each in rows if each is not None}) == 3
    assert rows[0].number == first
    local.close()
    assert uses(path) == {1: 6, 2: 3}
    after = NascentGeneration.begin_from(path, 2)
    after.drop(0, [b"b"])
    end(after).close()
    assert uses(path) == {1: 4, 2: 2}


def test_a_link_lets_go_of_what_it_was(nascent: NascentGeneration, path: Path) -> None:
    put_file(nascent, 0, b"b", 5)
    nascent.follow(1, 9, 0, b"a", 1, 1)
    nascent.follow(1, 9, 0, b"b", 2, 1)
    put_file(nascent, 0, b"a", 1)
    nascent.settle()
    end(nascent).close()
    assert uses(path) == {1: 2}


def test_the_first_of_the_links_vanished(nascent: NascentGeneration, path: Path) -> None:
    nascent.put([directory_row(0, b"/live", 1)])
    put_file(nascent, 1, b"b", 5)
    nascent.follow(1, 9, 1, b"a", 1, 1)
    nascent.follow(1, 9, 1, b"b", 2, 1)
    assert nascent.settle() == [Orphan(1, b"/live", b"b", 2, 1)]
    assert nascent.settle() == []
    local = end(nascent)
    assert rows_of(local)[b"/live/b"].chunk == 5
    local.close()
    assert uses(path) == {5: 1}


def test_the_first_of_the_links_was_another_file(nascent: NascentGeneration, path: Path) -> None:
    """What was renamed over it is not what the others have."""
    nascent.put([directory_row(0, b"/live", 1)])
    nascent.follow(1, 9, 1, b"a", 1, 1)
    nascent.follow(1, 9, 1, b"b", 1, 1)
    put_file(nascent, 1, b"a", 1, inode=10)
    assert nascent.settle() == [Orphan(1, b"/live", b"b", 1, 1)]
    end(nascent).close()
    assert uses(path) == {1: 1}


def test_the_first_of_the_links_is_in_error(nascent: NascentGeneration, path: Path) -> None:
    """Its own content is kept for each; a link that has none gets that of the same file only."""
    put_file(nascent, 0, b"has one", 5)
    nascent.follow(1, 9, 0, b"a", 1, 1)
    nascent.follow(1, 9, 0, b"has one", 2, 1)
    nascent.follow(1, 9, 0, b"same", 1, 1)
    nascent.put([row(0, b"a", chunk=1, start=0, inode=9, reason=ERROR)])
    nascent.count_uses({1: 1})
    nascent.follow(1, 10, 0, b"z", 1, 1)
    nascent.follow(1, 10, 0, b"not the same", 1, 1)
    nascent.put([row(0, b"z", chunk=2, start=0, inode=3, reason=ERROR)])
    nascent.count_uses({2: 1})
    assert nascent.settle() == []
    local = end(nascent)
    rows = rows_of(local)
    assert {each.reason for each in rows.values()} == {ERROR}
    assert rows[b"has one"].chunk == 5
    assert rows[b"same"].chunk == 1
    assert (rows[b"not the same"].chunk, rows[b"not the same"].checksum) == (None, None)
    local.close()
    assert uses(path) == {1: 2, 2: 1, 5: 1}


# Checkpoints and the end


def test_a_checkpoint_is_a_generation_of_its_own(nascent: NascentGeneration, path: Path) -> None:
    put_file(nascent, 0, b"a", 1)
    describe(nascent)
    copy = path.with_name("copy")
    nascent.save_copy(copy)
    assert nascent.sequence == 2
    assert list(nascent.added_chunks(nascent.first_new_chunk)) == []
    assert list(nascent.removed_chunks()) == []

    nascent.add_chunks([(chunk_id(50), 1)])
    nascent.put([row(0, b"b", chunk=6, start=0, since=2)])
    nascent.count_uses({6: 1, 1: -1})
    nascent.drop(0, [b"a"])
    assert list(nascent.added_chunks(nascent.first_new_chunk)) == [chunk_id(50)]
    local = end(nascent)

    partial = LocalGeneration(copy)
    assert (partial.sequence, local.sequence) == (1, 2)
    assert set(rows_of(partial)) == {b"a"}
    assert {entry.path: entry.reason for entry in local.walk()} == {b"b": Reason.NEW}
    partial.close()
    local.close()
    assert uses(copy) == {1: 1}


def test_links_wait_over_a_checkpoint(nascent: NascentGeneration, path: Path) -> None:
    nascent.follow(1, 9, 0, b"a", 1, 1)
    nascent.follow(1, 9, 0, b"b", 1, 1)
    put_file(nascent, 0, b"a", 1)
    describe(nascent)
    nascent.save_copy(path.with_name("copy"))
    assert nascent.settle() == []
    local = end(nascent)
    reasons = {entry.path: entry.reason for entry in local.walk()}
    assert reasons == {b"a": Reason.UNCHANGED, b"b": Reason.NEW}
    local.close()


def test_a_link_that_was_read_again_keeps_its_date(nascent: NascentGeneration, path: Path) -> None:
    nascent.put([row(0, name, inode=9, device=1) for name in (b"a", b"b")])
    end(nascent).close()
    after = NascentGeneration.begin_from(path, 7)
    after.follow(1, 9, 0, b"a", 1, 1)
    after.follow(1, 9, 0, b"b", 1, 1)
    after.settle()
    assert after.known(0)[b"b"].since == 1
    after.close()


def test_what_it_knows_of_itself(nascent: NascentGeneration) -> None:
    nascent.describe({"sequence": 1, "roots": ["2f"], "counts": {"entries": 3}, "host": "h\xfc"})
    nascent.describe({"host": "other"})
    local = end(nascent)
    assert local.meta["host"] == "other"
    assert json.loads(local.meta["roots"]) == ["2f"]
    assert json.loads(local.meta["counts"]) == {"entries": 3}
    assert (local.meta["next_directory"], local.meta["next_chunk"]) == (1, 6)
    local.close()


def test_a_full_disk_is_told(nascent: NascentGeneration) -> None:
    nascent._connection.execute("PRAGMA max_page_count = 1")  # no less than there are
    with pytest.raises(Exception, match="full"):
        nascent.put(row(1, b"%d" % n, target=bytes(1000)) for n in range(100_000))
    nascent._connection.execute("DROP TABLE chunk")
    with pytest.raises(DamagedGeneration, match="cannot be written"):
        nascent.finish()


def test_finished_is_what_the_others_use(path: Path) -> None:
    local = finished(path, lambda nascent: nascent.put([row(0, b"a")]))
    assert set(rows_of(local)) == {b"a"}
    local.close()
