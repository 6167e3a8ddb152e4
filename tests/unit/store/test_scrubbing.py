"""The scrub of one repository: what it finds, what it notes, and that it lasts."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, field

from obnam.model.ids import ChunkId
from obnam.wire.messages import KeyringSlot
from obnam_server.store.errors import DamagedSegment, StoreFailed, StoreFull
from obnam_server.store.interfaces import ScrubPass, SegmentNumber
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.scrubbing import Noted
from obnam_server.store.segment_check import PIECE_BYTES
from obnam_server.store.store import Store
from tests.support.stored import (
    ALICE,
    HOME,
    Clock,
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
    rebuilt_rows,
    rows_of,
    sealed,
    segment_paths,
)

FIRST = 32 + 37
"""Where the sealed bytes of a segment's first chunk lie."""


@define
class Server:
    """A store that can be stopped, started, and given a new index."""

    data: Path
    clock: Clock = field(factory=Clock)
    store: Store = field(init=False)
    home: RepositoryStore = field(init=False)

    def start(self) -> None:
        self.store = Store.open(self.data, self.clock)
        self.home = self.store.create_repository(HOME)

    def restart(self) -> None:
        self.store.close()
        self.start()

    def rebuild(self) -> None:
        self.store.close()
        rebuild_index(self.data, HOME, self.clock)
        self.start()

    def path(self, number: int) -> Path:
        (found,) = [p for p in segment_paths(self.data) if int(p.name, 16) == number]
        return found

    def flip(self, number: int, at: int) -> None:
        content = bytearray(self.path(number).read_bytes())
        content[at] ^= 0x10
        self.path(number).write_bytes(content)

    def missing(self, names: str) -> str:
        session = self.home.begin_session(ALICE, None)
        answers = self.home.missing(session, [chunk_id(n) for n in names])
        self.home.end_session(ALICE, session)
        return "".join(n for n, lacks in zip(names, answers, strict=True) if lacks)

    def scrub(self, scrub: ScrubPass | None = None, segments: int = 1000) -> list[Noted]:
        """A pass, or some segments of one."""
        scrubbing, noted = self.home.scrubbing, []
        scrub = scrub or self.home.change(scrubbing.begin)
        for _ in range(segments):
            check = scrubbing.check(self.home.scrubbing.standing().passes[0].segment)
            if check is None:
                self.home.change(scrubbing.end, scrub)
                break
            while check.step():
                pass
            assert check.result is not None
            noted.append(self.home.change(scrubbing.note, scrub, check.result))
        return noted

    def damaged(self, noted: list[Noted]) -> set[ChunkId]:
        return {chunk for each in noted for chunk in each.damaged}


CHUNKS_1, COMMIT_1, CHUNKS_2, COMMIT_2, KEYRING, REGISTER = range(1, 7)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    back_up(server.home, ALICE, "one", "abc")
    back_up(server.home, ALICE, "two", "bcd")
    server.home.put_keyring([KeyringSlot("0" * 32, "slot", b"sealed")], "0")
    server.home.change(server.home.decisions.pin, generation_id("one"), "admin", "the first")
    yield server
    server.store.close()


def names(found: set[ChunkId]) -> str:
    return "".join(n for n in "abcdefgh" if chunk_id(n) in found)


def test_nothing_is_wrong(server: Server) -> None:
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
    server: Server, damage: Callable[[Path], None], expected: str
) -> None:
    damage(server.path(CHUNKS_1))
    noted = server.scrub()
    assert names(server.damaged(noted)) == expected
    assert noted[0].problem is not None
    assert server.missing("abcd") == expected
    assert server.home.scrubbing.standing().damaged == len(expected)
    assert len(server.home.scrubbing.standing().problems) == 1


def test_a_flipped_bit_is_missing_and_healed(server: Server) -> None:
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


def test_damage_outlives_the_index(server: Server) -> None:
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


def test_a_chunk_whose_segment_is_lost_gets_its_number_back(server: Server) -> None:
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


def test_who_needs_what_is_damaged(server: Server) -> None:
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


def test_records_go_when_they_are_of_no_use(server: Server) -> None:
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


def test_a_damaged_record_is_written_anew(server: Server) -> None:
    server.flip(CHUNKS_1, FIRST + 5)
    server.scrub()
    server.flip(7, FIRST + 1)
    (noted,) = [each for each in server.scrub() if each.problem]
    assert noted.problem is not None
    assert "a record of damage; it is written anew" in noted.problem
    assert not [p for p in segment_paths(server.data) if int(p.name, 16) == 7]
    server.rebuild()
    assert server.missing("abcd") == "a"


def test_a_damaged_trailer_and_good_chunks(server: Server) -> None:
    server.flip(CHUNKS_1, -30)
    (first, *_) = server.scrub()
    assert first == Noted((), "its trailer does not match its checksum")
    assert held(server.home, "abcd") == all_right("abcd")


def test_a_damaged_trailer_still_tells_of_its_other_entries(server: Server) -> None:
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


def test_a_commit_is_named(server: Server) -> None:
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
def test_a_register_is_written_anew(server: Server, at: int) -> None:
    server.flip(REGISTER, at)
    before = server.home.decisions.register()
    (problem,) = [each.problem for each in server.scrub() if each.problem]
    assert problem.endswith("the register; it is written anew")
    assert server.home.scrubbing.standing().problems == []
    server.rebuild()
    assert server.home.decisions.register().pins == before.pins


def test_a_keyring_with_a_bad_trailer_is_written_anew(server: Server) -> None:
    server.flip(KEYRING, -60)
    (problem,) = [each.problem for each in server.scrub() if each.problem]
    assert problem.endswith("the keyring; it is written anew")
    server.rebuild()
    assert server.home.problems == []
    assert server.home.get_keyring().slots == (KeyringSlot("0" * 32, "slot", b"sealed"),)


def test_a_damaged_keyring_is_named_each_time(server: Server) -> None:
    server.flip(KEYRING, FIRST + 30)
    for _ in range(2):
        (problem,) = [each.problem for each in server.scrub() if each.problem]
        assert problem == "is damaged (keyring): the keyring"


def test_a_segment_that_goes_meanwhile_is_no_damage(server: Server) -> None:
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


def test_a_chunk_that_is_healed_meanwhile_is_no_damage(server: Server) -> None:
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


def test_a_pass_goes_on_after_a_restart(server: Server) -> None:
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


def test_the_clock_may_jump_back(server: Server) -> None:
    server.scrub()
    server.clock.now_ns -= 10**18
    server.scrub()
    newest, older = server.home.scrubbing.standing().passes
    assert newest.began_ns == older.began_ns + 1


def test_large_frames_are_read_in_pieces(server: Server) -> None:
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
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, code = os.preadv, errno.EIO
    at = FIRST + len(sealed("a")) + 37
    size = server.path(CHUNKS_1).stat().st_size

    def failing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        end = offset + len(buffers[0])
        if os.fstat(descriptor).st_size == size and offset <= at < end:
            raise OSError(code, os.strerror(code))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr("os.preadv", failing)
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


def test_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damage is known; it is written down when there is room again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.flip(CHUNKS_1, FIRST + 5)
    monkeypatch.setattr("obnam_server.store.files.LocalFiles.append", full)
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


def test_what_readers_met_is_written_down_too(server: Server) -> None:
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


def compact(server: Server, *segments: int) -> None:
    rewrite = server.home.collection.rewrite([SegmentNumber(each) for each in segments])
    for _ in rewrite.steps():
        pass
    assert server.home.change(server.home.collection.replace, rewrite)


def test_a_segment_with_a_damaged_chunk_can_be_compacted(server: Server) -> None:
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


def test_a_compacted_chunk_that_is_damaged_and_healed(server: Server) -> None:
    compact(server, CHUNKS_1)
    server.flip(7, FIRST + 5)
    assert names(server.damaged(server.scrub())) == "a"
    put(server.home, server.home.begin_session(ALICE, None), "a")
    server.scrub()
    for again in (server.restart, server.rebuild):
        again()
        assert held(server.home, "abcd") == all_right("abcd")


def test_compaction_under_a_check(server: Server) -> None:
    scrub = server.home.change(server.home.scrubbing.begin)
    check = server.home.scrubbing.check(SegmentNumber(0))
    assert check is not None
    compact(server, CHUNKS_1)
    while check.step():
        pass
    assert check.result is not None
    assert server.home.change(server.home.scrubbing.note, scrub, check.result) == Noted()
    assert held(server.home, "abcd") == all_right("abcd")


def test_damage_that_nobody_needs_is_forgotten(server: Server) -> None:
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
