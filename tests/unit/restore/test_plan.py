"""What is fetched together: by values, nothing is done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.seal import sealed_length_max
from obnam.errors import DamagedGeneration
from obnam.generation.rows import ChunkRow, EntryRow, ExtentRow
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId
from obnam.restore.plan import ENTRIES_MAX, SLAB_BYTES, Neighbourhood, Part, Plan, Work
from obnam.restore.tree import Directory, Entries, Problem, select
from obnam.wire.frames import FRAME_HEADER_BYTES
from tests.support.memory_scene import entry_row

MIB = 1 << 20


@define
class Files:
    """A generation's files and chunks, as a plan looks them up."""

    chunks: dict[int, ChunkRow] = field(factory=dict)
    extents: dict[int, list[ExtentRow]] = field(factory=dict)
    entries: list[Entries] = field(factory=list)
    asked: list[int] = field(factory=list)

    def chunk(self, length: int) -> int:
        number = len(self.chunks) + 1
        self.chunks[number] = ChunkRow(number, ChunkId(b"\x01" + number.to_bytes(32)), length)
        return number

    def in_one(self, chunk: int, start: int, size: int, directory: bytes = b"d") -> None:
        self._add(directory, size=size, chunk=chunk, start=start)

    def in_several(self, size: int, extents: Sequence[tuple[int, int, int, int]]) -> None:
        number = len(self.entries) + 1000
        self.extents[number] = [ExtentRow(*extent) for extent in extents]
        self._add(b"d", size=size, number=number)

    def _add(self, directory: bytes, **more: Any) -> None:
        name = b"%d" % len(self.entries)
        row = entry_row(1, name, checksum=b"x" * 16, **more)
        self.entries.append(Entries((directory,), [row]))

    def find_extents(self, row: EntryRow) -> Iterator[ExtentRow]:
        assert row.number is not None
        return iter(self.extents[row.number])

    def find_chunk(self, number: int) -> ChunkRow:
        self.asked.append(number)
        if number not in self.chunks:
            raise DamagedGeneration("this one", "no such chunk")
        return self.chunks[number]

    def plan(self) -> list[Work]:
        return list(Plan(self.find_extents, self.find_chunk).work(iter(self.entries)))


def names(work: Work) -> list[bytes]:
    assert isinstance(work, Neighbourhood)
    return [file.name for group in work.groups for file in group.all_files()]


def test_files_of_a_bundle_go_together_and_its_chunk_is_looked_up_once() -> None:
    files = Files()
    chunk = files.chunk(500_000)
    for number in range(50):
        files.in_one(chunk, number * 10_000, 10_000)
    (work,) = files.plan()
    assert isinstance(work, Neighbourhood)
    assert work.chunks == [files.chunks[chunk].id]
    assert (work.size_bytes, work.entry_count, work.file_count) == (500_000, 50, 50)
    assert len(files.asked) <= 2


def test_a_full_slab_begins_a_new_neighbourhood() -> None:
    files = Files()
    for _ in range(20):
        files.in_one(files.chunk(MIB), 0, MIB)
    works = files.plan()
    assert [len(names(work)) for work in works] == [15, 5]


def test_who_needs_nothing_more_stays_though_the_slab_is_full() -> None:
    files = Files()
    for _ in range(15):
        files.in_one(files.chunk(MIB), 0, MIB)
    files.in_one(1, 0, MIB)
    assert [len(names(work)) for work in files.plan()] == [16]


def test_entries_are_counted() -> None:
    files = Files()
    chunk = files.chunk(1000)
    for _ in range(ENTRIES_MAX + 1):
        files.in_one(chunk, 0, 10)
    first, second = files.plan()
    assert (len(names(first)), len(names(second))) == (ENTRIES_MAX, 1)


def test_chunks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request fetches them all."""
    monkeypatch.setattr("obnam.restore.plan.FETCH_IDS_MAX", 10)
    files = Files()
    for _ in range(25):
        files.in_one(files.chunk(1000), 0, 1000)
    works = files.plan()
    assert [len(work.chunks) for work in works if isinstance(work, Neighbourhood)] == [10, 10, 5]


def test_the_headers_of_frames_take_room_too() -> None:
    files = Files()
    for _ in range(1200):
        files.in_one(files.chunk(16_000), 0, 16_000)
    frame_bytes = FRAME_HEADER_BYTES + sealed_length_max(16_000)
    works = files.plan()
    assert [len(names(work)) for work in works[:1]] == [SLAB_BYTES // frame_bytes]
    assert SLAB_BYTES // frame_bytes < SLAB_BYTES // (frame_bytes - FRAME_HEADER_BYTES)


def test_what_has_no_content_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.restore.plan.ENTRIES_MAX", 10)
    files = Files()
    links = [entry_row(1, b"%d" % n, Kind.SYMLINK, target=b"there") for n in range(25)]
    files.entries.append(Entries((b"d",), links))
    works = files.plan()
    assert [work.entry_count for work in works if isinstance(work, Neighbourhood)] == [10, 10, 5]


def test_small_files_of_one_chunk_many_times_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.restore.plan.CONTENT_MAX", 100_000)
    files = Files()
    chunk = files.chunk(40_000)
    for _ in range(5):
        files.in_one(chunk, 0, 40_000)
    assert [len(names(work)) for work in files.plan()] == [2, 2, 1]


def test_extents_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be cut to pieces, all of them in one chunk."""
    monkeypatch.setattr("obnam.restore.plan.EXTENTS_MAX", 10)
    files = Files()
    chunk = files.chunk(1000)
    files.in_several(50, [(2 * at, chunk, at, 1) for at in range(25)])
    parts = [work for work in files.plan() if isinstance(work, Part)]
    assert [len(part.extents) for part in parts] == [10, 10, 5]
    assert [part.last for part in parts] == [False, False, True]


def test_what_lies_in_one_extent_and_is_all_of_a_file() -> None:
    """It is written with one call; with a hole before or behind it, it is not."""
    files = Files()
    chunk = files.chunk(1000)
    files.in_several(100, [(0, chunk, 10, 100)])
    files.in_several(100, [(50, chunk, 10, 50)])
    files.in_several(100, [(0, chunk, 10, 50)])
    (work,) = files.plan()
    assert isinstance(work, Neighbourhood)
    ((_, in_chunk, others, _),) = work.groups
    assert [entry[-2:] for entry in in_chunk] == [(0, 10)]
    assert [file.extents for file in others] == [((50, 0, 10, 50),), ((0, 0, 10, 50),)]


def test_small_and_large_files_do_not_part_a_bundle() -> None:
    files = Files()
    bundle = files.chunk(100_000)
    for number in range(40):
        files.in_one(bundle, number, 10)
        files.in_one(files.chunk(MIB), 0, MIB)
    works = files.plan()
    assert sum(files.chunks[bundle].id in work.chunks for work in works) == 1  # type: ignore[union-attr]


def test_the_same_chunk_many_times_over_is_work_too() -> None:
    files = Files()
    zeros = files.chunk(2 * MIB)
    for _ in range(40):
        files.in_one(zeros, 0, 2 * MIB)
    assert [len(names(work)) for work in files.plan()] == [32, 8]


def test_entries_of_one_directory_are_one_group() -> None:
    files = Files()
    chunk = files.chunk(1000)
    for directory in (b"a", b"a", b"b", b"a"):
        files.in_one(chunk, 0, 10, directory)
    (work,) = files.plan()
    assert isinstance(work, Neighbourhood)
    assert [(group.parts, len(group.in_chunk)) for group in work.groups] == [
        ((b"a",), 2),
        ((b"b",), 1),
        ((b"a",), 1),
    ]


def test_what_has_no_content_comes_along() -> None:
    link = entry_row(1, b"link", Kind.SYMLINK, target=b"there")
    empty = entry_row(1, b"empty", checksum=b"x" * 16, size=0)
    entries: list[Directory | Entries | Problem] = [
        Directory((b"d",), None),
        Entries((b"d",), [link, empty]),
    ]
    plan = Plan(lambda row: iter(()), lambda number: ChunkRow(1, ChunkId(b""), 1))
    directory, work = plan.work(iter(entries))
    assert directory == entries[0]
    assert isinstance(work, Neighbourhood)
    ((_, _, (written,), (made,)),) = work.groups
    assert (made.leads_to, written.extents, work.chunks) == (b"there", (), [])


def test_a_link_stays_one_whatever_else_is_said_of_it() -> None:
    files = Files()
    files.in_one(files.chunk(1000), 0, 10)
    row = entry_row(1, b"link", Kind.SYMLINK, target=b"there", chunk=1, start=0, size=10)
    files.entries.append(Entries((b"d",), [row]))
    (work,) = files.plan()
    assert isinstance(work, Neighbourhood)
    assert (work.entry_count, work.file_count) == (2, 1)
    assert work.groups[0].others[0].leads_to == b"there"


def test_a_file_larger_than_a_slab_comes_in_parts() -> None:
    files = Files()
    chunks = [files.chunk(MIB) for _ in range(40)]
    files.in_several(41 * MIB, [(at * MIB, chunk, 0, MIB) for at, chunk in enumerate(chunks)])
    parts = [work for work in files.plan() if isinstance(work, Part)]
    assert [(part.first, part.last, len(part.chunks)) for part in parts] == [
        (True, False, 15),
        (False, False, 15),
        (False, True, 10),
    ]
    assert [part.extents[0][0] for part in parts] == [0, 15 * MIB, 30 * MIB]
    assert {part.problem for part in parts} == {None}
    assert parts[0].file is parts[2].file


def test_a_part_after_which_nothing_makes_sense() -> None:
    files = Files()
    chunks = [files.chunk(MIB) for _ in range(40)]
    extents = [(at * MIB, chunk, 0, MIB) for at, chunk in enumerate(chunks)]
    files.in_several(40 * MIB, [*extents[:-1], (0, 1, 0, MIB)])
    parts = [work for work in files.plan() if isinstance(work, Part)]
    assert [(part.last, part.problem is None) for part in parts][-1] == (True, False)
    assert sum(part.last for part in parts) == sum(part.first for part in parts) == 1


def test_a_part_after_which_a_chunk_is_not_there() -> None:
    files = Files()
    chunks = [files.chunk(MIB) for _ in range(39)]
    extents = [(at * MIB, chunk, 0, MIB) for at, chunk in enumerate([*chunks, 99])]
    files.in_several(40 * MIB, extents)
    parts = [work for work in files.plan() if isinstance(work, Part)]
    assert [(part.last, part.problem is None) for part in parts] == [(False, True), (True, False)]


def test_files_beyond_their_chunks_are_problems() -> None:
    files = Files()
    chunk = files.chunk(1000)
    files.in_one(chunk, 500, 501)
    files.in_one(99, 0, 10)
    files.in_one(files.chunk(5 * MIB), 0, 10)
    files.in_several(10, [(0, chunk, 0, 6), (5, chunk, 6, 5)])
    files.in_several(10, [(0, chunk, 995, 10)])
    files.in_several(10, [(0, chunk, -1, 10)])
    files.in_several(10, [(0, chunk, 5, 0), (0, chunk, 5, 10)])
    files.in_several(10, [(5, chunk, 5, 6)])
    works = files.plan()
    assert all(isinstance(work, Problem) for work in works)
    assert [work.path for work in works if isinstance(work, Problem)] == [
        b"/d/%d" % number for number in range(8)
    ]


def test_a_file_beyond_a_chunk_that_others_are_in() -> None:
    files = Files()
    chunk = files.chunk(1000)
    for start, size in ((500, 500), (500, 501), (1000, 1), (0, 1000)):
        files.in_one(chunk, start, size)
    bad, worse, work = files.plan()
    assert [each.path for each in (bad, worse) if isinstance(each, Problem)] == [b"/d/1", b"/d/2"]
    assert names(work) == [b"0", b"3"]


def _covered(extents: Sequence[Any], chunks: Sequence[ChunkId]) -> list[tuple[Any, ...]]:
    return [(position, chunks[chunk], start, length) for position, chunk, start, length in extents]


@given(
    st.lists(st.integers(1, 3 * MIB), min_size=1, max_size=30),
    st.lists(
        st.lists(st.tuples(st.integers(0, 29), st.integers(0, 3 * MIB), st.integers(0, MIB))),
        max_size=20,
    ),
)
def test_all_content_is_planned_once_and_no_slab_overflows(
    lengths: list[int], wanted: list[list[tuple[int, int, int]]]
) -> None:
    files = Files()
    numbers = [files.chunk(length) for length in lengths]
    by_id = {chunk.id: chunk for chunk in files.chunks.values()}
    expected: dict[bytes, list[tuple[Any, ...]]] = {}
    for several in wanted:
        position, extents = 0, []
        for nth, start, gap in several:
            chunk = files.chunks[numbers[nth % len(numbers)]]
            start %= chunk.length
            extents.append((position + gap, chunk.number, start, chunk.length - start))
            position += gap + chunk.length - start
        files.in_several(position, extents)
        name = files.entries[-1].rows[0].name
        expected[name] = [(at, files.chunks[number].id, *rest) for at, number, *rest in extents]
    found: dict[bytes, list[tuple[Any, ...]]] = {}
    for work in files.plan():
        assert isinstance(work, Neighbourhood | Part)
        room = sum(FRAME_HEADER_BYTES + sealed_length_max(by_id[i].length) for i in work.chunks)
        assert room <= SLAB_BYTES
        assert len(set(work.chunks)) == len(work.chunks)
        if isinstance(work, Part):
            found.setdefault(work.file.name, []).extend(_covered(work.extents, work.chunks))
            continue
        for group in work.groups:
            for file in group.all_files():
                found.setdefault(file.name, []).extend(_covered(file.extents, work.chunks))
    assert found == expected


def test_selected_paths_are_as_given() -> None:
    everything: Mapping[bytes, Any] | None = select([b"/a", b"/"])
    assert everything is None
    assert select([]) is None
    assert select([b"/a/b", b"/a//b/c/", b"/x"]) == {b"a": {b"b": None}, b"x": None}
