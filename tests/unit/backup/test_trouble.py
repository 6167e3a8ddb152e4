"""Files and directories that cannot be read, that vanish, or that change while they are read."""

import errno
import os

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.errors import ServerUnreachable
from obnam.live.read import Identity, open_with_status
from obnam.model.entry import Kind, Reason
from tests.unit.backup.denied import Denied
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED, ERROR = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED, Reason.ERROR


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
async def test_a_known_directory_whose_attributes_cannot_be_read(
    laptop: Laptop, denied: Denied
) -> None:
    """What the generation before has of it is kept: its attributes could be had no more."""
    (laptop.root / "dir").mkdir(mode=0o710)
    (laptop.root / "dir" / "file").write_bytes(b"content")
    await laptop.back_up()
    (laptop.root / "dir").chmod(0o700)
    denied.attributes.add(b"dir")
    entries = await laptop.below(await laptop.back_up())
    assert (entries["dir"].reason, entries["dir"].row.mode) == (ERROR, 0o710)
    assert entries["dir/file"].content == b"content"
    assert laptop.results[-1].warnings == 1


@ensure
async def test_a_directory_that_vanished_since_it_was_listed(
    laptop: Laptop, denied: Denied
) -> None:
    (laptop.root / "dir").mkdir()
    (laptop.root / "dir" / "file").write_bytes(b"content")
    (laptop.root / "other").write_bytes(b"other")
    await laptop.back_up()
    denied.directories.add(b"dir")
    denied.code = errno.ENOENT
    assert await laptop.reasons(await laptop.back_up()) == {"other": UNCHANGED}
    assert laptop.warnings == []


@ensure
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
async def test_an_unreadable_link_or_pipe(laptop: Laptop, denied: Denied, code: int) -> None:
    denied.code = code
    os.mkfifo(laptop.root / "pipe")
    denied.attributes.add(b"pipe")
    entries = await laptop.below(await laptop.back_up())
    assert (entries["pipe"].reason, entries["pipe"].content) == (ERROR, None)
    assert laptop.results[-1].warnings == 1


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
