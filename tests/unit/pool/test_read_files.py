"""Reading, cutting and naming: real files, in this process."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obnam.chunking.cutter import MINIMUM
from obnam.live.metadata import decode_attributes
from obnam.live.read import READ_FLAGS, read_into
from obnam.model.entry import Kind
from obnam.pool import read_files
from obnam.pool.read_files import (
    FileToRead,
    NamedFiles,
    NamedPart,
    Range,
    Trouble,
    name_bundle,
    name_files,
    name_part,
)
from tests.unit.live.trees import as_ordinary_user, place_for_all
from tests.unit.pool.bench import SLAB_BYTES, Bench, group_of, write

Job = Callable[..., NamedFiles]
JOBS = pytest.mark.parametrize("job", [name_bundle, name_files])
KIB = 1 << 10


def noise(seed: object, length: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(length)


def run(bench: Bench, job: Job, directory: Path, *names: bytes) -> NamedFiles:
    return job(bench.tools, bench.slab.name, [group_of(directory, *names)])


# What is in a row


@JOBS
def test_rows_say_what_the_file_is(bench: Bench, tmp_path: Path, job: Job) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(0o4751)
    os.utime(file, ns=(1, 2_000_000_003))
    os.setxattr(file, "user.a", b"b")
    (tmp_path / "linked").hardlink_to(file)
    (tmp_path / "alone").touch()

    named = run(bench, job, tmp_path, b"file", b"alone")

    row, alone = named.rows
    status = file.stat()
    assert row[:13] == (
        7, b"file", Kind.FILE, 1, 3, 0o4751, status.st_uid, status.st_gid, 7,
        2_000_000_003, status.st_ctime_ns, status.st_ino, status.st_dev,
    )  # fmt: skip
    assert (row.number, row.target, alone.device, alone.attributes) == (None,) * 4
    assert row.attributes is not None
    assert decode_attributes(row.attributes) == ((b"user.a", b"b"),)
    assert (named.troubles, named.grown, named.changing) == ([], [], [])
    assert named.size_bytes == 7


@JOBS
def test_access_times_are_left_alone(bench: Bench, tmp_path: Path, job: Job) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.utime(tmp_path / "file", ns=(5, 5))
    run(bench, job, tmp_path, b"file")
    assert (tmp_path / "file").stat().st_atime_ns == 5


# Where content lies


def test_a_bundle_is_one_stream(bench: Bench, tmp_path: Path) -> None:
    contents = {b"%d" % n: noise(n, n * 1000) for n in range(60)}  # 1.7 MB
    for name, content in contents.items():
        (tmp_path / name.decode()).write_bytes(content)
    named = run(bench, name_bundle, tmp_path, *contents)
    assert bench.files(named) == contents
    together = b"".join(contents.values())
    assert bytes(bench.slab.view[: len(together)]) == together
    ends = bench.tools.cutter.cut(memoryview(together), final=True)
    assert [piece.offset + piece.length for piece in named.pieces] == ends
    assert 1 < len(ends) < 10
    # Those that a cut went through, and only those, lie in two extents.
    assert len(named.extents) == len(ends) - 1
    assert named.rows[0].chunk is None
    assert named.rows[0].checksum is not None


def test_files_of_several_directories(bench: Bench, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(name.encode() * 10)
    groups = [group_of(tmp_path / n, b"file", number=i) for i, n in enumerate(("a", "b"))]
    for job in (name_bundle, name_files):
        named = job(bench.tools, bench.slab.name, groups)
        assert [(row.directory, row.name) for row in named.rows] == [(0, b"file"), (1, b"file")]


def test_larger_files_are_cut_each_by_itself(bench: Bench, tmp_path: Path) -> None:
    contents = {b"a": noise(1, 900_000), b"b": noise(2, 130_000), b"c": noise(1, 900_000)}
    for name, content in contents.items():
        (tmp_path / name.decode()).write_bytes(content)
    named = run(bench, name_files, tmp_path, *contents)
    assert bench.files(named) == contents
    ids = [piece.id for piece in named.pieces]
    own = len(bench.tools.cutter.cut(memoryview(contents[b"a"]), final=True))
    assert ids[:own] == ids[-own:]  # the same content, the same chunks
    assert bench.holes(named) == {b"a": [], b"b": [], b"c": []}


@JOBS
def test_an_empty_file_has_no_extent(bench: Bench, tmp_path: Path, job: Job) -> None:
    (tmp_path / "empty").touch()
    named = run(bench, job, tmp_path, b"empty")
    assert (named.pieces, named.extents, named.rows[0].chunk) == ([], {}, None)
    assert bench.files(named) == {b"empty": b""}


@JOBS
def test_no_files_at_all(bench: Bench, tmp_path: Path, job: Job) -> None:
    named = run(bench, job, tmp_path)
    assert named == NamedFiles([], [], {}, [], [], [], 0)


def test_holes_become_gaps(bench: Bench, tmp_path: Path) -> None:
    data = noise(3, 64 * KIB)
    write(tmp_path, "middle", (0, data), (100 << 20, data))
    write(tmp_path, "ends", (256 * KIB, data), size=1 << 20)
    write(tmp_path, "nothing", size=10 << 20)
    named = name_files(bench.tools, bench.slab.name, [group_of(tmp_path, b"ends", b"nothing")])
    assert bench.files(named)[b"ends"] == bytes(256 * KIB) + data + bytes((1 << 20) - 320 * KIB)
    assert bench.holes(named)[b"ends"] == [(0, 256 * KIB), (320 * KIB, 1 << 20)]
    # Larger than the slab, so it would be read as parts: whatever of it is data would fit.
    assert [size for _, size in named.grown] == [10 << 20]
    part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"middle"), 0)
    assert isinstance(part, NamedPart)
    content, holes = bench.content(part.pieces, part.extents, (100 << 20) + 64 * KIB)
    assert holes == [(64 * KIB, 100 << 20)]
    assert content.endswith(data)


@st.composite
def sparse_files(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Data of a file in order: (how far after the last, how long), in pages."""
    return draw(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), max_size=5))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(sparse_files(), max_size=2), st.integers(0, 5000))
def test_any_files_come_back(
    bench: Bench, tmp_path: Path, layouts: list[list[tuple[int, int]]], tail: int
) -> None:
    contents, gaps = {}, {}
    for number, layout in enumerate(layouts):
        parts, at, name = [], 0, str(number)
        for gap, length in layout:
            parts.append((at + gap * 4096, noise((number, at), length * 4096 // 2)))
            at = parts[-1][0] + length * 4096
        size = min(at + tail, SLAB_BYTES // 2)
        parts = [(position, data[: max(0, size - position)]) for position, data in parts]
        write(tmp_path, name, *((p, d) for p, d in parts if d), size=size)
        contents[name.encode()] = (tmp_path / name).read_bytes()
        gaps[name.encode()] = sum(gap for gap, _ in layout)
    for job in (name_files, name_bundle):
        assert bench.files(run(bench, job, tmp_path, *contents)) == contents


# Parts of large files


def parts_of(bench: Bench, directory: Path, name: bytes = b"large") -> list[NamedPart]:
    """All parts; between them the slab is used anew, so what is in it is looked at at once."""
    parts: list[NamedPart] = []
    start = 0
    while not parts or parts[-1].row is None:
        part = name_part(bench.tools, bench.slab.name, group_of(directory, name), start)
        assert isinstance(part, NamedPart)
        start = part.stop
        parts.append(part)
        assert len(parts) < 100
    return parts


def together(bench: Bench, directory: Path, size: int) -> tuple[bytes, list[int]]:
    """The content of a large file from its parts, and the lengths of all pieces."""
    content, lengths, start, last = bytearray(size), [], 0, False
    while not last:
        part = name_part(bench.tools, bench.slab.name, group_of(directory, b"large"), start)
        assert isinstance(part, NamedPart)
        assert part.before == part.after
        for position, piece, offset, length in part.extents:
            assert start <= position
            assert position + length <= part.stop
            data = bench.plaintext(part.pieces[piece])[offset : offset + length]
            content[position : position + length] = data
        for position, offset, length in part.ranges:
            data = bytes(bench.slab.view[offset : offset + length])
            assert data == content[position : position + length]
        lengths += [piece.length for piece in part.pieces]
        start, last = part.stop, part.row is not None
    assert start == size
    return bytes(content), lengths


@pytest.mark.parametrize("size", [SLAB_BYTES + 1, 3 * SLAB_BYTES, 7_654_321])
def test_a_large_file_is_cut_as_one_stream(bench: Bench, tmp_path: Path, size: int) -> None:
    data = noise(size, size)
    (tmp_path / "large").write_bytes(data)
    content, lengths = together(bench, tmp_path, size)
    assert content == data
    ends = bench.tools.cutter.cut(memoryview(data), final=True)
    assert [sum(lengths[: n + 1]) for n in range(len(lengths))] == ends


def test_a_large_file_that_has_no_natural_cut(bench: Bench, tmp_path: Path) -> None:
    data = b"\1" * (5 << 20)
    (tmp_path / "large").write_bytes(data)
    content, lengths = together(bench, tmp_path, len(data))
    assert content == data
    assert lengths == [2 << 20, 2 << 20, 1 << 20]


def test_a_large_sparse_file(bench: Bench, tmp_path: Path) -> None:
    data = noise(1, 1_500_000)
    at = [0, 100 << 20, 200 << 20, (201 << 20) + 512 * KIB]
    size = 300 << 20
    write(tmp_path, "large", *((position, data) for position in at), size=size)
    content, lengths = together(bench, tmp_path, size)
    for position in at:
        assert content[position : position + len(data)] == data
    assert content.count(0) >= size - 4 * len(data)
    assert sum(lengths) < 4 * (len(data) + 8192)
    assert all(length >= MINIMUM for length in lengths[:-1])


def test_only_the_last_part_has_a_row(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(noise(1, 5 << 20))
    parts = parts_of(bench, tmp_path)
    assert len(parts) >= 3
    assert [part.row is None for part in parts[:-1]] == [True] * (len(parts) - 1)
    row = parts[-1].row
    assert row is not None
    assert (row.name, row.size, row.checksum) == (b"large", 5 << 20, None)
    assert {part.before for part in parts} == {part.after for part in parts}


def test_a_large_file_that_became_shorter(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(noise(1, 5 << 20))
    first = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"large"), 0)
    assert isinstance(first, NamedPart)
    os.truncate(tmp_path / "large", 1000)
    second = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"large"), first.stop)
    assert isinstance(second, NamedPart)
    # It ends where the last part ended: what was read of it fits its size.
    assert (second.stop, second.pieces, second.extents) == (first.stop, [], [])
    assert second.row is not None
    assert second.before != first.after


# What goes wrong


def touching(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> list[int]:
    """Do something to a file each time when it was just read."""
    reads: list[int] = []

    def read(descriptor: int, view: memoryview, offset: int) -> int:
        got = read_into(descriptor, view, offset)
        reads.append(got)
        change()
        return got

    monkeypatch.setattr(read_files, "read_into", read)
    return reads


@JOBS
def test_a_file_that_changes_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    contents = iter([b"and after", b"and after"])

    def change() -> None:
        if content := next(contents, None):
            file.write_bytes(content)
            os.utime(file, ns=(0, 10**18))

    reads = touching(monkeypatch, change)
    named = run(bench, job, tmp_path, b"file")
    assert len(reads) >= 2
    assert bench.files(named) == {b"file": b"and after"}
    assert named.changing == []
    assert named.rows[0].mtime_ns == 10**18


@JOBS
def test_a_file_that_always_changes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    count = iter(range(100))

    def change() -> None:
        file.write_bytes(b"x" * (2 + next(count)))

    reads = touching(monkeypatch, change)
    named = run(bench, job, tmp_path, b"file")
    assert len(reads) == read_files.READ_TRIES
    assert named.changing == [bytes(file)]
    assert list(bench.files(named)) == [b"file"]


@JOBS
def test_a_file_that_shrinks_while_it_is_read(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    file = tmp_path / "file"
    (tmp_path / "next").write_bytes(b"next")
    fstat = os.fstat

    def larger(descriptor: int) -> os.stat_result:
        """As if the file had been longer when it was looked at."""
        status = fstat(descriptor)
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(file):
            os.truncate(file, status.st_size // 2)
        return status

    file.write_bytes(noise(1, 160_000))
    monkeypatch.setattr("obnam.live.read.os.fstat", larger)
    named = run(bench, job, tmp_path, b"file", b"next")
    contents = bench.files(named)
    # What is behind the new end may read as a hole; size and checksum are of what is stored.
    assert noise(1, 160_000).startswith(contents[b"file"].rstrip(b"\0"))
    assert contents[b"next"] == b"next"
    assert named.rows[0].size == len(contents[b"file"])
    assert named.changing == [bytes(file)]


@JOBS
def test_files_for_which_there_is_no_room(bench: Bench, tmp_path: Path, job: Job) -> None:
    (tmp_path / "a").write_bytes(noise(1, 1_500_000))
    (tmp_path / "b").write_bytes(noise(2, 1_000_000))
    (tmp_path / "c").write_bytes(noise(3, 1000))
    (tmp_path / "huge").write_bytes(noise(4, SLAB_BYTES + 1))
    named = run(bench, job, tmp_path, b"a", b"b", b"c", b"huge")
    assert set(bench.files(named)) == {b"a", b"c"}
    assert [(group.files, size) for group, size in named.grown] == [
        ([FileToRead(b"b", 1, 3)], 1_000_000),
        ([FileToRead(b"huge", 1, 3)], SLAB_BYTES + 1),
    ]
    assert {group[:3] for group, _ in named.grown} == {group_of(tmp_path)[:3]}


@JOBS
def test_one_bad_file_does_not_stop_the_others(bench: Bench, tmp_path: Path, job: Job) -> None:
    for name in ("a", "z"):
        (tmp_path / name).write_bytes(name.encode())
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dir").mkdir()
    names = (b"a", b"dir", b"fifo", b"link", b"missing", b"z")
    named = run(bench, job, tmp_path, *names)
    assert bench.files(named) == {b"a": b"a", b"z": b"z"}
    assert [(t.file.name, t.code) for t in named.troubles] == [
        (b"dir", errno.ESTALE),
        (b"fifo", errno.ESTALE),
        (b"link", errno.ESTALE),
        (b"missing", errno.ENOENT),
    ]
    assert named.troubles[3] == Trouble(
        7, bytes(tmp_path), FileToRead(b"missing", 1, 3), errno.ENOENT, "No such file or directory"
    )


@JOBS
def test_a_directory_that_was_swapped(bench: Bench, tmp_path: Path, job: Job) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").write_bytes(b"mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"of others")
    group = group_of(tmp_path / "dir", b"file")
    (tmp_path / "dir").rename(tmp_path / "moved")
    (tmp_path / "dir").symlink_to("other")

    def is_refused() -> bool:
        named = job(bench.tools, bench.slab.name, [group])
        assert [trouble.code for trouble in named.troubles] == [errno.ESTALE]
        assert named.rows == []
        return isinstance(name_part(bench.tools, bench.slab.name, group, 0), Trouble)

    assert is_refused()
    (tmp_path / "dir").unlink()
    (tmp_path / "other").rename(tmp_path / "dir")
    assert is_refused()


def test_a_part_of_a_file_that_is_gone(bench: Bench, tmp_path: Path) -> None:
    part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"gone"), 0)
    assert isinstance(part, Trouble)
    assert part.code == errno.ENOENT
    os.mkfifo(tmp_path / "fifo")
    part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"fifo"), 0)
    assert isinstance(part, Trouble)
    assert part.code == errno.ESTALE


@JOBS
def test_a_disk_that_fails(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    for name in ("a", "bad", "c"):
        (tmp_path / name).write_bytes(noise(name, 10_000))
    bad = os.open(tmp_path / "bad", READ_FLAGS)
    inode = os.fstat(bad).st_ino
    os.close(bad)

    def read(descriptor: int, view: memoryview, offset: int) -> int:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_into(descriptor, view, offset)

    monkeypatch.setattr(read_files, "read_into", read)
    named = run(bench, job, tmp_path, b"a", b"bad", b"c")
    assert set(bench.files(named)) == {b"a", b"c"}
    assert [t.code for t in named.troubles] == [errno.EIO]


def test_files_that_may_not_be_read() -> None:
    with place_for_all() as place:
        place.chmod(0o755)
        (place / "file").write_bytes(b"secret")
        (place / "file").chmod(0)

        def read() -> list[int]:
            bench = Bench()
            named = run(bench, name_bundle, place, b"file")
            return [trouble.code for trouble in named.troubles]

        assert as_ordinary_user(read) == [errno.EACCES]


def test_ranges_are_cut_where_pieces_end() -> None:
    ranges = [Range(0, 0, 10), Range(100, 10, 5), Range(200, 15, 5)]
    assert read_files._up_to(ranges, 20) == (ranges, 205)
    assert read_files._up_to(ranges, 15) == (ranges[:2], 105)
    assert read_files._up_to(ranges, 12) == ([ranges[0], Range(100, 10, 2)], 102)
    assert read_files._up_to(ranges, 10) == (ranges[:1], 10)
