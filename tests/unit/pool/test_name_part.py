"""Parts of large files: read, cut and named one after another."""

import errno
import os
from pathlib import Path

import pytest

from obnam.chunking.cutter import MINIMUM
from obnam.live import read
from obnam.pool import read_files
from obnam.pool.named import NamedPart, Range, Trouble
from obnam.pool.read_files import name_part
from tests.unit.pool.bench import SLAB_BYTES, Bench, group_of, noise, write

KIB = 1 << 10


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
    assert (row.name, row.size, row.checksum) == (b"large", 5 << 20, b"")
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


def test_a_part_of_a_file_that_is_gone(bench: Bench, tmp_path: Path) -> None:
    part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"gone"), 0)
    assert isinstance(part, Trouble)
    assert part.code == errno.ENOENT
    os.mkfifo(tmp_path / "fifo")
    part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"fifo"), 0)
    assert isinstance(part, Trouble)
    assert part.code == errno.ESTALE


def test_ranges_are_cut_where_pieces_end() -> None:
    ranges = [Range(0, 0, 10), Range(100, 10, 5), Range(200, 15, 5)]
    assert read_files._up_to(ranges, 20) == (ranges, 205)
    assert read_files._up_to(ranges, 15) == (ranges[:2], 105)
    assert read_files._up_to(ranges, 12) == ([ranges[0], Range(100, 10, 2)], 102)
    assert read_files._up_to(ranges, 10) == (ranges[:1], 10)


def test_a_file_of_nothing_but_holes_beyond_measure_is_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 8 EiB takes no room, and to sum up its zeros would take years."""
    monkeypatch.setattr(read, "HOLES_MAX_BYTES", 4 << 20)
    path = tmp_path / "large"
    for size, refused in ((4 << 20, False), ((4 << 20) + 4096, True)):
        path.write_bytes(b"")
        os.truncate(path, size)
        part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"large"), 0)
        assert isinstance(part, Trouble) == refused
    assert isinstance(part, Trouble)
    assert part.code == errno.EFBIG
    assert "holes" in part.text
    # What has data is no matter of size.
    path.write_bytes(noise(1, 5 << 20))
    part = name_part(bench.tools, bench.slab.name, group_of(tmp_path, b"large"), 0)
    assert isinstance(part, NamedPart)
