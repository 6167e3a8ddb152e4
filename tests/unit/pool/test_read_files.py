"""Reading, cutting and naming: real files, in this process."""

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obnam.live.metadata import decode_attributes
from obnam.model.entry import Kind
from obnam.pool.named import NamedFiles, NamedPart
from obnam.pool.read_files import name_bundle, name_files, name_part
from tests.unit.pool.bench import JOBS, SLAB_BYTES, Bench, Job, group_of, noise, run, write

KIB = 1 << 10


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
def test_the_row_of_a_file_as_most_are(bench: Bench, tmp_path: Path, job: Job) -> None:
    (tmp_path / "before").write_bytes(b"12345")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(0o640)
    os.utime(file, ns=(1, 2_000_000_003))

    named = run(bench, job, tmp_path, b"before", b"file")

    status = file.stat()
    assert named.whole[1][:11] == (
        7, b"file", 1, 3, 0o640, status.st_uid, status.st_gid, 7,
        2_000_000_003, status.st_ctime_ns, status.st_ino,
    )  # fmt: skip
    assert named.rows == []
    assert bench.files(named) == {b"before": b"12345", b"file": b"content"}


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
    assert [row.size for row in named.rows] == [0, *(len(contents[r.name]) for r in named.rows[1:])]
    assert len(named.whole) + len(named.rows) == len(contents)
    assert named.rows[0].chunk is None
    assert named.rows[0].checksum is not None


def test_files_of_several_directories(bench: Bench, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(name.encode() * 10)
    groups = [group_of(tmp_path / n, b"file", number=i) for i, n in enumerate(("a", "b"))]
    for job in (name_bundle, name_files):
        named = job(bench.tools, bench.slab.name, groups)
        assert [file[:2] for file in named.whole] == [(0, b"file"), (1, b"file")]


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
    assert named == NamedFiles([], [], [], {}, [], [], [], 0)


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
