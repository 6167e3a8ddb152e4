"""Segments as local files."""

import os
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from obnam.model.ids import RepositoryName
from obnam_server.store.disk.direct import BUFFERS, BUFFERS_MAX
from obnam_server.store.disk.files import LOCAL_FILES, LocalFiles
from obnam_server.store.errors import DamagedSegment, StoreFailed
from obnam_server.store.seams.segments import ISegmentStore, ISegmentWriter
from obnam_server.store.seams.values import SegmentNumber, SegmentSummary
from obnam_server.store.segments.local import OPEN_SEGMENTS_MAX, LocalSegmentStore
from tests.support.stored import HOME


@pytest.fixture
def segments(tmp_path: Path) -> LocalSegmentStore:
    for name in ("segments", "incoming"):
        (tmp_path / HOME / name).mkdir(parents=True)
    return LocalSegmentStore(tmp_path, LOCAL_FILES)


def write(segments: LocalSegmentStore, number: int, content: bytes) -> SegmentSummary:
    writer = segments.begin(HOME)
    writer.write([content[:3], memoryview(content)[3:]])
    return writer.finish(SegmentNumber(number))


def read(segments: LocalSegmentStore, number: int, offset: int, length: int) -> bytes:
    return segments.read(HOME, SegmentNumber(number), offset, length)


def test_they_provide_what_they_say(segments: LocalSegmentStore) -> None:
    assert verifyObject(ISegmentStore, segments)
    writer = segments.begin(HOME)
    assert verifyObject(ISegmentWriter, writer)
    writer.abort()


def test_written_then_read(segments: LocalSegmentStore, tmp_path: Path) -> None:
    assert write(segments, 0x5ABC, b"0123456789") == SegmentSummary(SegmentNumber(0x5ABC), 10)
    assert (tmp_path / "home/segments/0005/0000000000005abc").read_bytes() == b"0123456789"
    assert read(segments, 0x5ABC, 3, 4) == b"3456"
    assert segments.size_bytes(HOME, SegmentNumber(0x5ABC)) == 10
    assert list(segments.list(HOME)) == [0x5ABC]
    assert list((tmp_path / "home/incoming").iterdir()) == []


def test_nothing_is_seen_before_the_end(segments: LocalSegmentStore, tmp_path: Path) -> None:
    writer = segments.begin(HOME)
    writer.write([b"x"])
    assert list(segments.list(HOME)) == []
    writer.abort()
    writer.abort()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_aborted_after_the_end(segments: LocalSegmentStore, tmp_path: Path) -> None:
    writer = segments.begin(HOME)
    writer.write([b"x"])
    writer.finish(SegmentNumber(1))
    writer.abort()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_segment_is_never_replaced(segments: LocalSegmentStore) -> None:
    write(segments, 1, b"first")
    writer = segments.begin(HOME)
    writer.write([b"other"])
    with pytest.raises(StoreFailed, match="exists already"):
        writer.finish(SegmentNumber(1))
    writer.abort()
    assert read(segments, 1, 0, 5) == b"first"


def test_reading_bit_by_bit(segments: LocalSegmentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems over a network have it."""
    write(segments, 1, b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(3, length), offset))
    assert read(segments, 1, 1, 8) == b"12345678"
    with pytest.raises(DamagedSegment, match="ends before byte 11"):
        read(segments, 1, 2, 9)


@pytest.mark.parametrize("end", ["finished", "given up"])
def test_after_the_end_nothing_is_written(segments: LocalSegmentStore, end: str) -> None:
    writer = segments.begin(HOME)
    writer.write([b"x"])
    if end == "finished":
        writer.finish(SegmentNumber(1))
    else:
        writer.abort()
    for more in (
        lambda: writer.write([b"y"]),
        lambda: writer.was_written(1),
        lambda: writer.finish(SegmentNumber(2)),
    ):
        with pytest.raises(ValueError, match="finished or given up"):
            more()
    assert list(segments.list(HOME)) == ([1] if end == "finished" else [])


def test_reading_beyond_the_end(segments: LocalSegmentStore) -> None:
    write(segments, 1, b"12345")
    with pytest.raises(DamagedSegment, match="ends before byte 6"):
        read(segments, 1, 2, 4)


def test_reading_what_is_not_there(segments: LocalSegmentStore) -> None:
    with pytest.raises(DamagedSegment):
        read(segments, 1, 0, 1)
    with pytest.raises(DamagedSegment):
        segments.size_bytes(HOME, SegmentNumber(1))


def test_deleted(segments: LocalSegmentStore) -> None:
    write(segments, 1, b"12345")
    read(segments, 1, 0, 1)
    segments.delete(HOME, [SegmentNumber(1)])
    segments.delete(HOME, [SegmentNumber(1)])
    with pytest.raises(DamagedSegment):
        read(segments, 1, 0, 1)


class WaitingFiles(LocalFiles):
    """Notes what is removed, and for which directories it waits."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def remove(self, path: Path) -> None:
        self.done.append(path.name[-4:])
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self.done.append(path.name)
        super().sync_directory(path)


def test_many_are_deleted_while_the_disk_is_waited_for_once(
    segments: LocalSegmentStore, tmp_path: Path
) -> None:
    for number in (1, 2, 3, 0x1001):
        write(segments, number, b"12345")
    files = WaitingFiles()
    store = LocalSegmentStore(tmp_path, files)
    store.delete(HOME, map(SegmentNumber, (1, 0x1001, 7, 3)))
    assert files.done == ["0001", "1001", "0003", "0000", "0001"]
    assert list(segments.list(HOME)) == [2]


def test_what_is_not_ours_is_passed_over(segments: LocalSegmentStore, tmp_path: Path) -> None:
    write(segments, 1, b"12345")
    home = tmp_path / "home/segments"
    (home / "lost+found").mkdir()
    (home / "0000/notes.txt").write_text("hello")
    (home / "0000/0000000000005abc").write_text("in a wrong directory")
    assert list(segments.list(HOME)) == [1]


def test_settling_removes_what_was_not_finished(
    segments: LocalSegmentStore, tmp_path: Path
) -> None:
    write(segments, 1, b"12345")
    (tmp_path / "home/incoming/1-1.tmp").write_bytes(b"half")
    assert segments.settle(HOME) == 1
    assert list((tmp_path / "home/incoming").iterdir()) == []
    assert list(segments.list(HOME)) == [1]


def test_few_descriptors_stay_open(segments: LocalSegmentStore) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    for number in range(1, OPEN_SEGMENTS_MAX + 20):
        write(segments, number, b"x")
        assert read(segments, number, 0, 1) == b"x"
    assert opened() <= before + OPEN_SEGMENTS_MAX
    segments.close()
    assert opened() == before


def test_no_descriptors_left_is_no_damage(
    segments: LocalSegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(segments, 1, b"x")

    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", none_left)
    with pytest.raises(StoreFailed, match="Too many"):
        read(segments, 1, 0, 1)


def test_many_and_empty_pieces(tmp_path: Path) -> None:
    pieces: list[bytes | memoryview] = [bytes([n % 256]) * (n % 5) for n in range(3000)]
    descriptor = LOCAL_FILES.create(tmp_path / "file")
    LOCAL_FILES.append(descriptor, pieces)
    LOCAL_FILES.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev

    def short(descriptor: int, pieces: list[bytes | memoryview]) -> int:
        return real(descriptor, [b"".join(pieces)[:7]])

    monkeypatch.setattr(os, "writev", short)
    descriptor = LOCAL_FILES.create(tmp_path / "file")
    LOCAL_FILES.append(descriptor, [b"0123456789", b"", b"abcdefghij", memoryview(b"klm")])
    LOCAL_FILES.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"0123456789abcdefghijklm"


def test_another_repository_is_apart(segments: LocalSegmentStore, tmp_path: Path) -> None:
    for name in ("segments", "incoming"):
        (tmp_path / "other" / name).mkdir(parents=True)
    write(segments, 1, b"12345")
    assert list(segments.list(RepositoryName("other"))) == []
    with pytest.raises(DamagedSegment):
        segments.read(RepositoryName("other"), SegmentNumber(1), 0, 1)


def test_a_body_that_another_has_written_is_as_long_as_is_said(
    segments: LocalSegmentStore,
) -> None:
    for said in (2, 4):
        writer = segments.begin(HOME)
        writer.leave().write_bytes(b"abc")
        with pytest.raises(StoreFailed, match=f"has 3 bytes, not {said}"):
            writer.was_written(said)
        writer.abort()
    writer = segments.begin(HOME)
    writer.leave().write_bytes(b"abc")
    writer.was_written(3)
    writer.write([b"d"])
    assert writer.finish(SegmentNumber(1)) == SegmentSummary(SegmentNumber(1), 4)
    assert read(segments, 1, 0, 4) == b"abcd"


def test_what_is_given_up_gives_its_buffer_back(
    segments: LocalSegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUFFERS, "_unmade", BUFFERS_MAX)
    monkeypatch.setattr(BUFFERS, "_free", [])
    for _ in range(2 * BUFFERS_MAX):
        writer = segments.begin(HOME)
        writer.write([b"x"])
        writer.abort()
    assert None not in [BUFFERS.take() for _ in range(BUFFERS_MAX)]


def test_a_name_is_never_used_again(
    segments: LocalSegmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next server may have the same process id, and a worker of this one come late."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    killed = segments.begin(HOME).leave()
    segments.settle(HOME)
    assert LocalSegmentStore(tmp_path, LOCAL_FILES).begin(HOME).leave() != killed
