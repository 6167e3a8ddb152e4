"""Files that change, vanish, or cannot be read, while they are read and named."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from obnam.live.read import READ_FLAGS
from obnam.pool.named import Trouble
from obnam.pool.read_files import name_bundle, name_part
from obnam.pool.reading import READ_TRIES, SAYS_EMPTY
from tests.unit.live.trees import as_ordinary_user, place_for_all
from tests.unit.pool.bench import JOBS, SLAB_BYTES, Bench, Job, group_of, noise, run, whole_rows


def touching(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> list[int]:
    """Do something to a file each time when it was just read."""
    reads: list[int] = []
    preadv = os.preadv

    def read(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        got = preadv(descriptor, views, offset)
        reads.append(got)
        change()
        return got

    monkeypatch.setattr(os, "preadv", read)
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
    (row,) = whole_rows(named)
    assert row.mtime_ns == 10**18


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
    # A bundle's files are first read all of them, and then those that this did not do for.
    assert len(reads) == READ_TRIES + (job is name_bundle)
    assert named.changing == [bytes(file)]
    assert list(bench.files(named)) == [b"file"]


@JOBS
def test_reads_that_give_less_than_was_asked_for(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    """As file systems in user space have them, with no change of the file."""
    contents = {b"a": b"ten bytes!", b"b": b"", b"c": b"and these", b"d": b"x"}
    for name, content in contents.items():
        (tmp_path / name.decode()).write_bytes(content)
    preadv = os.preadv

    def read(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        return preadv(descriptor, [view[:3] for view in views], offset)

    monkeypatch.setattr(os, "preadv", read)
    named = run(bench, job, tmp_path, *contents)
    assert bench.files(named) == contents
    assert (named.changing, named.troubles) == ([], [])


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
    sizes = {row.name: row.size for row in [*named.rows, *whole_rows(named)]}
    assert sizes == {b"file": len(contents[b"file"]), b"next": 4}
    assert named.changing == [bytes(file)]


@JOBS
def test_files_for_which_there_is_no_room(bench: Bench, tmp_path: Path, job: Job) -> None:
    (tmp_path / "a").write_bytes(noise(1, 1_500_000))
    (tmp_path / "b").write_bytes(noise(2, 1_000_000))
    (tmp_path / "c").write_bytes(noise(3, 1000))
    (tmp_path / "huge").write_bytes(noise(4, SLAB_BYTES + 1))
    named = run(bench, job, tmp_path, b"a", b"b", b"c", b"huge")
    assert set(bench.files(named)) == {b"a", b"c"}
    assert [(group.names, size) for group, size in named.grown] == [
        ([b"b"], 1_000_000),
        ([b"huge"], SLAB_BYTES + 1),
    ]
    assert {group[:-1] for group, _ in named.grown} == {group_of(tmp_path)[:-1]}


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
    assert [(t.name, t.code) for t in named.troubles] == [
        (b"dir", errno.ESTALE),
        (b"fifo", errno.ESTALE),
        (b"link", errno.ESTALE),
        (b"missing", errno.ENOENT),
    ]
    assert named.troubles[3] == Trouble(
        7, bytes(tmp_path), b"missing", errno.ENOENT, "No such file or directory"
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
        assert (named.whole, named.rows) == ([], [])
        return isinstance(name_part(bench.tools, bench.slab.name, group, 0), Trouble)

    assert is_refused()
    (tmp_path / "dir").unlink()
    (tmp_path / "other").rename(tmp_path / "dir")
    assert is_refused()


@JOBS
def test_a_disk_that_fails(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    for name in ("a", "bad", "c"):
        (tmp_path / name).write_bytes(noise(name, 10_000))
    bad = os.open(tmp_path / "bad", READ_FLAGS)
    inode = os.fstat(bad).st_ino
    os.close(bad)

    preadv = os.preadv

    def read(descriptor: int, views: Sequence[memoryview], offset: int) -> int:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(descriptor, views, offset)

    monkeypatch.setattr(os, "preadv", read)
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


@JOBS
def test_a_file_that_says_that_it_is_empty_and_is_not(bench: Bench, job: Job) -> None:
    """Those of /proc are made when they are read. It would be restored as an empty one."""
    named = run(bench, job, Path("/proc/sys/kernel"), b"ostype")
    assert named.troubles == [Trouble(7, b"/proc/sys/kernel", b"ostype", errno.ENODATA, SAYS_EMPTY)]
    assert whole_rows(named) == named.rows == []


@JOBS
def test_an_empty_file_that_is_written_meanwhile(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job
) -> None:
    """Then it is one that changes, and is read again."""
    file = tmp_path / "file"
    file.touch()
    pread = os.pread

    def written(descriptor: int, length: int, offset: int) -> bytes:
        if not file.stat().st_size:
            file.write_bytes(b"by now")
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", written)
    named = run(bench, job, tmp_path, b"file")
    assert bench.files(named) == {b"file": b"by now"}
    assert (named.troubles, named.changing) == ([], [])
