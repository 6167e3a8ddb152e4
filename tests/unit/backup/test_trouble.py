"""Files and directories that cannot be read, that vanish, or that change while they are read."""

import errno
import os
from collections.abc import Iterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field

from obnam.errors import ServerUnreachable
from obnam.live import scan as live_scan
from obnam.live.read import Identity, open_with_status
from obnam.model.entry import Attributes, Kind, Reason
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED, ERROR = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED, Reason.ERROR


@define
class Denied:
    """Names that cannot be opened, or whose attributes cannot be read: as root nothing is denied.

    ``code`` is the errno that opening gives.
    """

    files: set[bytes] = field(factory=set)
    directories: set[bytes] = field(factory=set)
    attributes: set[bytes] = field(factory=set)
    code: int = errno.EACCES

    def refuse(self, name: bytes) -> None:
        raise OSError(self.code, os.strerror(self.code), name)


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Denied]:
    denied = Denied()
    names = live_scan._names

    def open_file(
        name: bytes, directory: int | None = None, expected: Identity | None = None
    ) -> tuple[int, os.stat_result]:
        if name in denied.files:
            denied.refuse(name)
        return open_with_status(name, directory, expected)

    def list_names(descriptor: int) -> tuple[list[bytes], OSError | None]:
        name = os.path.basename(os.readlink(b"/proc/self/fd/%d" % descriptor))
        if name in denied.directories:
            return [], OSError(denied.code, os.strerror(denied.code))
        return names(descriptor)

    def attributes(directory: int, name: bytes) -> Attributes:
        if name in denied.attributes:
            denied.refuse(name)
        return ()

    monkeypatch.setattr("obnam.pool.reading.open_with_status", open_file)
    monkeypatch.setattr("obnam.pool.read_files.open_with_status", open_file)
    monkeypatch.setattr("obnam.live.scan._names", list_names)
    monkeypatch.setattr("obnam.backup.scan.read_attributes_at", attributes)
    yield denied


@ensure
async def test_an_unreadable_file_keeps_what_was_there(laptop: Laptop, denied: Denied) -> None:
    file = laptop.root / "file"
    file.write_bytes(b"first")
    (laptop.root / "other").write_bytes(b"other")
    await laptop.back_up()
    file.write_bytes(b"second, longer")
    denied.files.add(b"file")

    for _ in range(3):  # it stays so, and is told each time
        entries = await laptop.below(await laptop.back_up())
        assert {n: e.reason for n, e in entries.items() if n} == {"file": ERROR, "other": UNCHANGED}
        assert entries["file"].content == b"first"
        assert len(laptop.warnings) == laptop.results[-1].warnings == 1
        assert str(file) in laptop.warnings[0]
        assert "earlier backup" in laptop.warnings[0]

    denied.files.clear()
    entries = await laptop.below(await laptop.back_up())
    assert (entries["file"].reason, entries["file"].content) == (CHANGED, b"second, longer")
    assert laptop.results[-1].warnings == 0
    assert (await laptop.reasons(await laptop.back_up()))["file"] == UNCHANGED


@ensure
async def test_a_file_that_never_could_be_read(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "file").write_bytes(b"content")
    denied.files.add(b"file")
    for _ in range(2):
        entries = await laptop.below(await laptop.back_up())
        assert (entries["file"].reason, entries["file"].content) == (ERROR, None)
        assert len(laptop.warnings) == 1
    denied.files.clear()
    entries = await laptop.below(await laptop.back_up())
    assert (entries["file"].reason, entries["file"].content) == (CHANGED, b"content")


@ensure
async def test_an_unreadable_huge_file(
    laptop: Laptop, denied: Denied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    (laptop.root / "huge").write_bytes(bytes(5 << 20))
    await laptop.back_up()
    (laptop.root / "huge").write_bytes(b"1" * (5 << 20))
    denied.files.add(b"huge")
    entries = await laptop.below(await laptop.back_up())
    assert (entries["huge"].reason, entries["huge"].content) == (ERROR, bytes(5 << 20))


@ensure
async def test_a_huge_file_that_fails_half_way(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that were stored go again; the chunk set is exact (checked by the reader)."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    (laptop.root / "huge").write_bytes(os.urandom(7 << 20))
    opens = iter(range(2))

    def fail_at_last(
        name: bytes, directory: int | None = None, expected: Identity | None = None
    ) -> tuple[int, os.stat_result]:
        if next(opens, None) is None:
            raise OSError(errno.EIO, "Input/output error")
        return open_with_status(name, directory, expected)

    monkeypatch.setattr("obnam.pool.read_files.open_with_status", fail_at_last)
    entries = await laptop.below(await laptop.back_up())
    assert (entries["huge"].reason, entries["huge"].content) == (ERROR, None)
    assert "Input/output error" in laptop.warnings[0]


@ensure
async def test_an_unreadable_directory_keeps_what_was_there(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "dir" / "deep").mkdir(parents=True)
    (laptop.root / "dir" / "deep" / "file").write_bytes(b"content")
    (laptop.root / "other").write_bytes(b"other")
    await laptop.back_up()
    denied.directories.add(b"dir")

    for _ in range(2):
        entries = await laptop.below(await laptop.back_up())
        assert {n: e.reason for n, e in entries.items() if n} == {
            "dir": ERROR, "dir/deep": ERROR, "dir/deep/file": ERROR, "other": UNCHANGED,
        }  # fmt: skip
        assert entries["dir/deep/file"].content == b"content"
        assert len(laptop.warnings) == 1
    denied.directories.clear()

    assert await laptop.reasons(await laptop.back_up()) == {
        "dir": CHANGED, "dir/deep": CHANGED, "dir/deep/file": CHANGED, "other": UNCHANGED,
    }  # fmt: skip
    assert laptop.warnings == []
    assert set((await laptop.reasons(await laptop.back_up())).values()) == {UNCHANGED}


@ensure
async def test_a_directory_that_can_be_read_again_by_a_backup_that_is_cut_off(
    laptop: Laptop, denied: Denied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in it is read again, by the next one."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)  # each batch by itself
    monkeypatch.setattr("obnam.backup.pipeline.LANES", 2)  # a checkpoint waits for them all

    def write(which: str) -> None:
        for number in range(24):
            (laptop.root / f"{number:02}").write_bytes(noise((which, number), 700_000))

    write("before")
    (laptop.root / "dir").mkdir()
    (laptop.root / "dir" / "file").write_bytes(b"content")
    await laptop.back_up()
    denied.directories.add(b"dir")
    await laptop.back_up()
    denied.directories.clear()
    write("after")
    uploads = iter(range(7))

    def store() -> None:
        laptop.clock.advance(1)
        if next(uploads, None) is None:
            raise ServerUnreachable("memory", "gone")

    laptop.repository.before_store, laptop.checkpoint_s = store, 2
    with pytest.raises(ServerUnreachable):
        await laptop.back_up()
    assert laptop.repository.commits
    laptop.repository.before_store, laptop.checkpoint_s = lambda: None, 1e9

    assert (await laptop.reasons(await laptop.back_up()))["dir/file"] is CHANGED
    assert set((await laptop.reasons(await laptop.back_up())).values()) == {UNCHANGED}


@ensure
async def test_a_new_unreadable_directory(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "dir").mkdir()
    (laptop.root / "dir" / "file").write_bytes(b"content")
    denied.directories.add(b"dir")
    entries = await laptop.below(await laptop.back_up())
    assert (entries["dir"].reason, entries["dir"].kind) == (ERROR, Kind.DIRECTORY)
    assert "dir/file" not in entries
    assert laptop.results[-1].warnings == 1


@ensure
async def test_a_directory_whose_attributes_cannot_be_read(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "dir").mkdir(mode=0o710)
    (laptop.root / "dir" / "file").write_bytes(b"content")
    denied.attributes.add(b"dir")
    for _ in range(2):
        entries = await laptop.below(await laptop.back_up())
        assert (entries["dir"].reason, entries["dir"].kind) == (ERROR, Kind.DIRECTORY)
        assert entries["dir"].row.mode == 0o710
        assert entries["dir/file"].content == b"content"
        assert laptop.results[-1].warnings == 1
    denied.attributes.clear()
    entries = await laptop.below(await laptop.back_up())
    assert (entries["dir"].reason, entries["dir/file"].reason) == (CHANGED, CHANGED)
    assert set((await laptop.reasons(await laptop.back_up())).values()) == {UNCHANGED}


@ensure
async def test_an_unreadable_link_or_pipe(laptop: Laptop, denied: Denied) -> None:
    os.mkfifo(laptop.root / "pipe")
    denied.attributes.add(b"pipe")
    entries = await laptop.below(await laptop.back_up())
    assert (entries["pipe"].reason, entries["pipe"].content) == (ERROR, None)
    assert laptop.results[-1].warnings == 1


@ensure
async def test_links_of_an_unreadable_file(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "a").write_bytes(b"content")
    (laptop.root / "b").hardlink_to(laptop.root / "a")
    await laptop.back_up()
    (laptop.root / "a").chmod(0)
    (laptop.root / "c").hardlink_to(laptop.root / "a")
    denied.files.add(b"a")  # the first of them is the one that is read
    entries = await laptop.below(await laptop.back_up())
    assert {entries[name].reason for name in "abc"} == {ERROR}
    assert {entries[name].content for name in "abc"} == {b"content"}


@ensure
async def test_a_file_that_became_a_link_of_an_unreadable_one(
    laptop: Laptop, denied: Denied
) -> None:
    """Each keeps what it had: that is more than the other's content under its name."""
    a, b, c = (laptop.root / name for name in "abc")
    a.write_bytes(b"content of a")
    b.write_bytes(b"content of b")
    await laptop.back_up()
    a.unlink()
    a.hardlink_to(b)
    c.hardlink_to(b)
    denied.files.add(b"a")

    entries = await laptop.below(await laptop.back_up())

    assert {entries[name].reason for name in "abc"} == {ERROR}
    assert (entries["a"].content, entries["b"].content) == (b"content of a", b"content of b")
    assert entries["c"].content is None


@ensure
async def test_a_file_that_vanished_since_it_was_listed(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    (laptop.root / "file").write_bytes(b"other content")
    denied.files.add(b"file")
    denied.code = errno.ENOENT
    assert await laptop.reasons(await laptop.back_up()) == {}
    assert laptop.warnings == []


@ensure
async def test_the_first_of_several_links_vanished(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "a").write_bytes(b"content")
    (laptop.root / "b").hardlink_to(laptop.root / "a")
    denied.files.add(b"a")
    denied.code = errno.ENOENT
    entries = await laptop.below(await laptop.back_up())
    assert (entries["b"].content, entries["b"].reason, "a" in entries) == (b"content", NEW, False)
    assert laptop.warnings == []
    (laptop.root / "a").unlink()
    assert await laptop.reasons(await laptop.back_up()) == {"b": CHANGED}


@ensure
async def test_all_of_several_links_vanished(laptop: Laptop, denied: Denied) -> None:
    (laptop.root / "a").write_bytes(b"content")
    (laptop.root / "b").hardlink_to(laptop.root / "a")
    (laptop.root / "dir").mkdir()
    (laptop.root / "dir" / "c").hardlink_to(laptop.root / "a")
    denied.files |= {b"a", b"b", b"c"}
    denied.code = errno.ENOENT
    assert await laptop.reasons(await laptop.back_up()) == {"dir": NEW}
    assert laptop.warnings == []


@ensure
@pytest.mark.parametrize("size", [7, 200_000])
@pytest.mark.parametrize("known", [False, True])
async def test_the_first_of_several_links_is_renamed_over(
    laptop: Laptop, size: int, known: bool
) -> None:
    """Between the scan and the reading: the others are not what is there then."""
    a, b, c = (laptop.root / name for name in "abc")
    a.write_bytes(noise("old", size))
    b.hardlink_to(a)
    if known:
        await laptop.back_up()
    c.hardlink_to(a)

    def replace(_name: str, _arguments: tuple[object, ...]) -> None:
        if a.stat().st_nlink == 3:
            (laptop.home / "new").write_bytes(b"new content of a alone")
            (laptop.home / "new").rename(a)

    backup = laptop.backup()
    laptop.pool.before = replace
    generation = (await backup.run()).generation
    assert generation is not None
    entries = await laptop.below(generation)
    assert entries["a"].content == b"new content of a alone"
    assert entries["b"].content == entries["c"].content == b.read_bytes()
    assert entries["b"].row.inode == entries["c"].row.inode == b.stat().st_ino
    assert laptop.warnings == []
    assert set((await laptop.reasons(await laptop.back_up())).values()) == {UNCHANGED}


@ensure
async def test_a_link_cannot_be_read_when_its_first_has_vanished(
    laptop: Laptop, denied: Denied
) -> None:
    a, b = laptop.root / "a", laptop.root / "b"
    a.write_bytes(b"content")
    b.hardlink_to(a)
    await laptop.back_up()
    (laptop.root / "c").hardlink_to(a)
    denied.files |= {b"b"}
    backup = laptop.backup()
    laptop.pool.before = lambda _name, _arguments: a.unlink(missing_ok=True)
    generation = (await backup.run()).generation
    assert generation is not None
    entries = await laptop.below(generation)
    assert (entries["b"].reason, entries["b"].content) == (ERROR, b"content")
    assert (entries["c"].reason, entries["c"].content) == (NEW, b"content")
    (warning,) = laptop.warnings
    assert warning.startswith(f"{b}: cannot be read")


@ensure
async def test_a_file_that_changes_all_the_time(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = laptop.root / "file"
    file.write_bytes(b"content")
    real, count = os.fstat, iter(range(1000))

    def restless(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if os.readlink(b"/proc/self/fd/%d" % descriptor) == bytes(file):
            os.utime(file, ns=(0, next(count)))
        return status

    monkeypatch.setattr("obnam.pool.read_files.os.fstat", restless)
    entries = await laptop.below(await laptop.back_up())
    assert (entries["file"].reason, entries["file"].content) == (NEW, b"content")
    assert laptop.warnings == [
        f"{file}: changed while it was read; it is stored as it was read last"
    ]
    monkeypatch.undo()
    # It has other times than those that were stored: so it is read again.
    assert await laptop.reasons(await laptop.back_up()) == {"file": CHANGED}
    assert laptop.warnings == []


@ensure
@pytest.mark.parametrize("growth", [3 << 20, 40 << 20])
async def test_a_file_that_grew_since_it_was_listed(laptop: Laptop, growth: int) -> None:
    file = laptop.root / "b"
    file.write_bytes(b"x")
    (laptop.root / "a").write_bytes(b"first")
    (laptop.root / "c").write_bytes(b"last")
    grown = b"y" * growth
    backup = laptop.backup()

    def grow(_name: str, _arguments: tuple[object, ...]) -> None:
        if not laptop.pool.jobs:
            file.write_bytes(grown)

    laptop.pool.before = grow
    result = await backup.run()
    assert result.generation is not None
    entries = await laptop.below(result.generation)
    assert entries["b"].content == grown
    assert (entries["a"].content, entries["c"].content) == (b"first", b"last")
    expected = ["name_part"] if growth > 15 << 20 else []
    assert [job for job in laptop.pool.jobs if job == "name_part"][:1] == expected


@ensure
async def test_a_huge_file_that_shrinks_while_it_is_read(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept in the end is what was read, with its own size and checksum."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    file = laptop.root / "huge"
    content = os.urandom(7 << 20)
    file.write_bytes(content)
    backup = laptop.backup()

    def shrink(name: str, arguments: tuple[object, ...]) -> None:
        if name == "name_part":
            _, _, start = arguments
            if start:
                os.truncate(file, 1 << 20)
            else:
                file.write_bytes(content)

    laptop.pool.before = shrink
    result = await backup.run()
    assert laptop.pool.jobs.count("name_part") == 6  # three tries of two parts
    assert "changed while it was read" in laptop.warnings[0]
    assert result.generation is not None
    entry = (await laptop.below(result.generation))["huge"]  # the reader checks size and checksum
    assert entry.content is not None
    assert content.startswith(entry.content)
    assert len(entry.content) > 1 << 20


@ensure
async def test_a_link_whose_first_name_vanished_is_read_where_it_is(
    laptop: Laptop, denied: Denied
) -> None:
    (laptop.root / "y" / "z").mkdir(parents=True)
    (laptop.root / "a").write_bytes(b"content")
    (laptop.root / "y" / "z" / "b").hardlink_to(laptop.root / "a")
    denied.files, denied.code = {b"a"}, errno.ENOENT
    entries = await laptop.below(await laptop.back_up())
    assert entries["y/z/b"].content == b"content"
    assert "a" not in entries
    assert laptop.warnings == []
    denied.files.clear()
    assert set(await laptop.reasons(await laptop.back_up())) == {"a", "y", "y/z", "y/z/b"}
