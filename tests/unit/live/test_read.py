import os
import socket
from pathlib import Path

import pytest

from obnam.live import read
from obnam.live.read import (
    Replaced,
    advise,
    data_ranges,
    identity_of,
    open_directory,
    open_regular,
    open_with_status,
    read_into,
)
from tests.unit.live.trees import as_ordinary_user, make_chain, open_descriptors, place_for_all

HOLE = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_opens_by_path_and_by_name(file: Path) -> None:
    directory = open_directory(os.fsencode(file.parent))
    for descriptor in (open_regular(os.fsencode(file)), open_regular(b"file", directory)):
        assert os.read(descriptor, 100) == b"content"
        os.close(descriptor)
    os.close(directory)


def test_status_is_of_what_was_opened(file: Path) -> None:
    descriptor, status = open_with_status(os.fsencode(file), None, identity_of(file.stat()))
    os.close(descriptor)

    assert status.st_size == 7


@pytest.mark.parametrize("by", ["fifo", "link", "socket", "directory"])
def test_what_took_the_place_of_a_file_is_refused_at_once(
    file: Path, tmp_path: Path, by: str
) -> None:
    file.unlink()
    if by == "fifo":
        os.mkfifo(file)
    elif by == "link":
        file.symlink_to("/etc/passwd")
    elif by == "directory":
        file.mkdir()
    else:
        # Bound by a short relative name: addresses have 108 bytes.
        directory = os.open(tmp_path, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{directory}/file")
        os.close(directory)
    before = open_descriptors()

    with pytest.raises(Replaced):
        open_regular(os.fsencode(file))
    assert open_descriptors() == before


def test_another_file_of_the_same_name_is_refused(file: Path) -> None:
    expected = identity_of(file.stat())
    file.rename(file.with_name("kept"))  # so that its inode is not given to the next
    file.write_bytes(b"other")
    before = open_descriptors()

    with pytest.raises(Replaced):
        open_regular(os.fsencode(file), None, expected)
    assert open_descriptors() == before


def test_a_missing_file_is_just_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(os.fsencode(tmp_path / "missing"))


def test_a_swapped_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "secret" / "sub").mkdir(parents=True)
    path = os.fsencode(tmp_path / "real" / "sub")
    expected = identity_of(os.stat(path))
    os.close(open_directory(path, expected))

    (tmp_path / "real").rename(tmp_path / "gone")
    (tmp_path / "real").symlink_to("secret")
    before = open_descriptors()

    with pytest.raises(Replaced):
        open_directory(path, expected)
    assert open_descriptors() == before


def test_a_directory_swapped_for_a_link_or_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "file").touch()

    for name in ("link", "file"):
        with pytest.raises(Replaced):
            open_directory(os.fsencode(tmp_path / name))


@pytest.mark.parametrize("levels", [20, 21, 30, 61])
def test_directories_whose_path_is_longer_than_path_max(tmp_path: Path, levels: int) -> None:
    bottom = make_chain(tmp_path, [b"n" * 200] * levels)
    before = open_descriptors()

    descriptor = open_directory(bottom)

    above = os.open(b"..", os.O_RDONLY, dir_fd=descriptor)
    assert os.listdir(above) == ["n" * 200]
    assert os.path.samestat(
        os.fstat(descriptor), os.stat(b"n" * 200, dir_fd=above, follow_symlinks=False)
    )
    os.close(above)
    os.close(descriptor)
    assert open_descriptors() == before
    with pytest.raises(FileNotFoundError):
        open_directory(bottom + b"/" + b"m" * 200)
    assert open_descriptors() == before


def test_access_time_is_left_alone(file: Path) -> None:
    os.utime(file, ns=(1, 10**18))

    descriptor = open_regular(os.fsencode(file))
    assert os.read(descriptor, 100) == b"content"
    os.close(descriptor)

    assert file.stat().st_atime_ns == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of another user")
def test_files_of_others_are_read_by_ordinary_users() -> None:
    with place_for_all() as place:
        path = place / "of-root"
        path.write_bytes(b"content")
        path.chmod(0o644)

        def read_it() -> bytes:
            descriptor = open_regular(os.fsencode(path))
            return os.read(descriptor, 100)

        assert as_ordinary_user(read_it) == b"content"


def test_an_unreadable_file_is_a_permission_error() -> None:
    with place_for_all() as place:

        def read_it() -> str:
            path = place / "mine"
            path.touch(mode=0o000)
            with pytest.raises(PermissionError):
                open_regular(os.fsencode(path))
            return "refused"

        assert as_ordinary_user(read_it) == "refused"


def _ranges(path: Path, start: int = 0) -> list[tuple[int, int]]:
    descriptor = open_regular(os.fsencode(path))
    try:
        return list(data_ranges(descriptor, os.fstat(descriptor).st_size, start))
    finally:
        os.close(descriptor)


def test_a_file_without_holes_is_one_range(file: Path) -> None:
    assert _ranges(file) == [(0, 7)]
    assert _ranges(file, 3) == [(3, 4)]
    assert _ranges(file, 7) == []
    assert _ranges(file, 8) == []


def test_an_empty_file_has_no_range(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert _ranges(tmp_path / "empty") == []


def test_holes_are_found(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as sparse:
        sparse.seek(HOLE)
        sparse.write(b"x" * 4096)
        sparse.seek(3 * HOLE)
        sparse.write(b"y" * 100)
        sparse.truncate(5 * HOLE)
    ranges = _ranges(path)
    if len(ranges) == 1 and ranges[0] == (0, 5 * HOLE):
        pytest.skip("this file system has no holes")

    content = bytearray(5 * HOLE)
    descriptor = open_regular(os.fsencode(path))
    for offset, length in ranges:
        assert read_into(descriptor, memoryview(content)[offset : offset + length], offset)
    os.close(descriptor)
    assert content == path.read_bytes()
    assert sum(length for _, length in ranges) < HOLE
    assert [offset for offset, _ in ranges] == [HOLE, 3 * HOLE]
    assert _ranges(path, HOLE + 96)[0] == (HOLE + 96, 4000)
    assert _ranges(path, 4 * HOLE) == []


def test_a_file_that_is_one_hole_has_no_range(tmp_path: Path) -> None:
    path = tmp_path / "hole"
    with path.open("wb") as sparse:
        sparse.truncate(HOLE)
    assert _ranges(path) in ([], [(0, HOLE)])


def test_ranges_end_at_the_size_given(file: Path) -> None:
    descriptor = open_regular(os.fsencode(file))
    assert list(data_ranges(descriptor, 4)) == [(0, 4)]
    os.close(descriptor)


def test_reads_until_the_end_and_no_further_than_asked(file: Path) -> None:
    descriptor = open_regular(os.fsencode(file))
    room = bytearray(100)
    assert read_into(descriptor, memoryview(room), 2) == 5
    assert bytes(room[:5]) == b"ntent"
    assert read_into(descriptor, memoryview(room)[:3], 0) == 3
    assert bytes(room[:5]) == b"connt"
    assert read_into(descriptor, memoryview(room), 7) == 0
    assert read_into(descriptor, memoryview(b"").cast("B"), 0) == 0
    os.close(descriptor)


def test_reads_on_where_the_kernel_stopped_early(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: real(fd, [views[0][:2]], offset))
    descriptor = open_regular(os.fsencode(file))
    room = bytearray(10)
    assert read_into(descriptor, memoryview(room), 0) == 7
    assert bytes(room[:7]) == b"content"
    os.close(descriptor)


def test_advice_is_given_for_huge_files_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda fd, offset, length, advice: given.append(advice)
    )
    descriptor = open_regular(os.fsencode(file))
    advise(descriptor, read.HUGE_BYTES - 1)
    assert given == []
    advise(descriptor, read.HUGE_BYTES)
    assert given == [os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_NOREUSE]
    os.close(descriptor)


def test_a_file_that_becomes_shorter_while_its_holes_are_looked_for_just_ends(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seek = os.lseek

    def shorten_first(descriptor: int, position: int, how: int) -> int:
        if how == os.SEEK_HOLE:
            os.truncate(file, 0)
        return seek(descriptor, position, how)

    monkeypatch.setattr(os, "lseek", shorten_first)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        assert list(data_ranges(descriptor, 7)) == []
    finally:
        os.close(descriptor)
