"""What is appended past the page cache lies in the file as if it had been appended as usual."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from obnam_server.store.disk import direct
from obnam_server.store.disk.direct import BUFFER_BYTES, PAGE_BYTES, Buffers, DirectAppender
from obnam_server.store.disk.files import LocalFiles
from tests.unit.pool.bench import noise

KIB = 1024
LENGTHS = (0, 1, 31, PAGE_BYTES - 32, PAGE_BYTES, 70 * KIB, BUFFER_BYTES, BUFFER_BYTES + 1)


@define
class WatchedFiles(LocalFiles):
    """The real ones; what goes past the page cache must be whole pages."""

    direct_bytes: int = 0
    appended: list[int] = field(factory=list)

    def append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        self.appended.append(sum(map(len, pieces)))
        super().append(descriptor, pieces)

    def append_direct(self, descriptor: int, pages: memoryview) -> None:
        assert os.lseek(descriptor, 0, os.SEEK_CUR) % PAGE_BYTES == 0
        assert len(pages) % PAGE_BYTES == 0 < len(pages)
        self.direct_bytes += len(pages)
        super().append_direct(descriptor, pages)
        assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    made = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield made
    os.close(made)


def content_of(descriptor: int) -> bytes:
    return os.pread(descriptor, 64 << 20, 0)


@settings(deadline=None)
@given(
    st.sampled_from((0, 1, 32, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 32)),
    st.lists(st.lists(st.sampled_from(LENGTHS), max_size=3), max_size=4),
    st.booleans(),
)
def test_all_lies_in_its_place(start: int, rounds: list[list[int]], flushes: bool) -> None:
    buffers, files = Buffers(1), WatchedFiles()
    descriptor = os.memfd_create("file")
    expected = noise("start", start)
    os.write(descriptor, expected)
    try:
        appender = DirectAppender(files, descriptor, start, buffers)
        for lengths in rounds:
            pieces = [noise(length, length) for length in lengths]
            appender.append([bytearray(piece) for piece in pieces])  # type: ignore[misc]
            expected += b"".join(pieces)
            if flushes:
                appender.flush()
        appender.flush()
        assert content_of(descriptor) == expected
        assert buffers.take() is not None  # it is back
    finally:
        os.close(descriptor)


def test_what_fills_pages_goes_past_the_cache(descriptor: int) -> None:
    files = WatchedFiles()
    appender = DirectAppender(files, descriptor, 0, Buffers())
    content = noise(1, 3 * BUFFER_BYTES // 2 + 100)
    appender.append([content[:32], memoryview(content)[32:]])
    appender.flush()
    assert content_of(descriptor) == content
    assert files.direct_bytes == len(content) // PAGE_BYTES * PAGE_BYTES
    assert files.appended[-1] == len(content) % PAGE_BYTES


def test_what_another_has_begun_is_gone_on_with_behind_its_page(descriptor: int) -> None:
    files = WatchedFiles()
    os.write(descriptor, bytes(32))
    appender = DirectAppender(files, descriptor, 32, Buffers())
    appender.append([noise(1, 2 * BUFFER_BYTES)])
    appender.flush()
    assert content_of(descriptor) == bytes(32) + noise(1, 2 * BUFFER_BYTES)
    assert files.appended == [PAGE_BYTES - 32, 32]


def test_a_little_goes_as_usual(descriptor: int) -> None:
    files = WatchedFiles()
    appender = DirectAppender(files, descriptor, 0, Buffers())
    appender.append([noise(1, 60 * KIB)])
    assert files.appended == []
    appender.flush()
    assert (files.appended, files.direct_bytes) == ([60 * KIB], 0)


def test_when_all_buffers_are_in_use(descriptor: int) -> None:
    files, buffers = WatchedFiles(), Buffers(1)
    other = buffers.take()
    assert other is not None
    appender = DirectAppender(files, descriptor, 0, buffers)
    appender.append([noise(1, 100)])
    assert files.appended == [100]
    buffers.give_back(other)
    appender.append([noise(2, 2 * BUFFER_BYTES)])
    appender.flush()
    assert content_of(descriptor) == noise(1, 100) + noise(2, 2 * BUFFER_BYTES)
    assert files.direct_bytes > BUFFER_BYTES
    assert buffers.take() is other


def refuse_to_switch(_descriptor: int, command: int, *_: int) -> int:
    if command == fcntl.F_SETFL:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return 0


def test_a_file_system_without(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam_server.store.disk.files.fcntl.fcntl", refuse_to_switch)
    appender = DirectAppender(LocalFiles(), descriptor, 0, Buffers())
    appender.append([noise(1, 2 * BUFFER_BYTES)])
    appender.flush()
    assert content_of(descriptor) == noise(1, 2 * BUFFER_BYTES)


def failing(code: int) -> Callable[[int, memoryview], int]:
    def write(_descriptor: int, _data: memoryview) -> int:
        raise OSError(code, os.strerror(code))

    return write


def halving(descriptor: int, data: memoryview) -> int:
    return os.writev(descriptor, [data[: len(data) // 2 + 1]])


@pytest.mark.parametrize("write", [failing(errno.EINVAL), failing(errno.EOPNOTSUPP), halving])
def test_a_disk_that_wants_larger_pages_or_takes_a_part(
    descriptor: int, monkeypatch: pytest.MonkeyPatch, write: Callable[[int, memoryview], int]
) -> None:
    monkeypatch.setattr("obnam_server.store.disk.files.os.write", write)
    appender = DirectAppender(LocalFiles(), descriptor, 0, Buffers())
    appender.append([noise(1, 2 * BUFFER_BYTES + 5)])
    appender.flush()
    assert content_of(descriptor) == noise(1, 2 * BUFFER_BYTES + 5)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_what_the_disk_says_is_said(
    descriptor: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    buffers = Buffers(1)
    appender = DirectAppender(LocalFiles(), descriptor, 0, buffers)
    monkeypatch.setattr("obnam_server.store.disk.files.os.write", failing(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        appender.append([noise(1, 2 * BUFFER_BYTES)])
    appender.drop()
    appender.drop()
    assert buffers.take() is not None
    assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT


def test_there_are_so_many_buffers() -> None:
    buffers = Buffers(2)
    first, second = buffers.take(), buffers.take()
    assert first is not None
    assert second is not None
    assert buffers.take() is None
    buffers.give_back(first)
    assert buffers.take() is first
    assert len(second) == direct.BUFFER_BYTES


@pytest.mark.parametrize("taken", [PAGE_BYTES, PAGE_BYTES + 17])
def test_what_a_short_write_leaves_goes_the_usual_way(
    descriptor: int, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    files = WatchedFiles()
    write = os.write

    def short(descriptor: int, pages: memoryview) -> int:
        return write(descriptor, bytes(pages[:taken])) if len(pages) > taken else 0

    pages = memoryview(noise("short", 3 * PAGE_BYTES))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        # What is no page cannot be written so: as if the disk had stopped there.
        patched.setattr(os, "O_DIRECT", 0)
        files.append_direct(descriptor, pages)
    assert content_of(descriptor) == pages
    assert files.appended == [3 * PAGE_BYTES - taken]
