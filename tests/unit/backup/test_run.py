"""Whole backups to a server in memory, read back by hand."""

import errno
import os
import socket
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.model.entry import Kind, Reason
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED


@ensure
async def test_a_first_backup_keeps_everything(laptop: Laptop) -> None:
    root = laptop.root
    (root / "empty").touch()
    (root / "small").write_bytes(b"small content")
    (root / "large").write_bytes(noise(1, 3_000_000))
    (root / "dir").mkdir(mode=0o750)
    (root / "dir" / "inside").write_bytes(b"inside")
    (root / "link").symlink_to("dir/inside")
    os.mkfifo(root / "pipe", 0o622)
    os.utime(root / "small", ns=(5, 1_234_567_890_123_456_789))
    (root / "small").chmod(0o4750)

    generation = await laptop.back_up()

    entries = await laptop.below(generation)
    assert sorted(entries) == [
        "", "dir", "dir/inside", "empty", "large", "link", "pipe", "small",
    ]  # fmt: skip
    assert {entry.reason for entry in entries.values()} == {NEW}
    assert entries["small"].content == b"small content"
    assert entries["large"].content == noise(1, 3_000_000)
    assert entries["empty"].content == b""
    assert entries["dir/inside"].content == b"inside"
    assert entries["link"].row.target == b"dir/inside"
    kinds = {name: entry.kind for name, entry in entries.items()}
    assert kinds["dir"] is kinds[""] is Kind.DIRECTORY
    assert kinds["link"] is Kind.SYMLINK
    assert kinds["pipe"] is Kind.FIFO
    small = entries["small"].row
    assert (small.mode, small.mtime_ns) == (0o4750, 1_234_567_890_123_456_789)
    assert (small.uid, small.gid) == (os.geteuid(), os.getegid())
    (result,) = laptop.results
    assert (result.entries, result.unchanged, result.warnings) == (8, 0, 0)
    assert result.sent.files == 4
    assert laptop.warnings == []


@ensure
async def test_what_is_committed_stays_so_when_it_cannot_be_noted_here(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "state.json")

    (laptop.root / "file").write_bytes(b"1234")
    await laptop.back_up()
    monkeypatch.setattr("obnam.repository.state._replace", full)
    generation = await laptop.back_up()
    assert set(await laptop.below(generation)) == {"", "file"}
    (warning,) = laptop.warnings
    assert "is committed, but not noted here: " in warning
    assert "state.json: No space left on device" in warning
    assert laptop.results[1].warnings == 1


@ensure
@pytest.mark.parametrize("when", ["copied", "begun"])
async def test_a_disk_too_full_to_begin_has_nothing_left_on_it(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def half(_: Path, target: Path) -> None:
        target.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    await laptop.back_up()
    if when == "copied":
        monkeypatch.setattr("obnam.backup.base.shutil.copyfile", half)
    else:
        monkeypatch.setattr("obnam.backup.base.NascentGeneration.begin_from", full)
    with pytest.raises(OSError, match="No space left"):
        await laptop.backup().run()
    assert list(laptop.cache.glob("*.new")) == []
    monkeypatch.undo()
    await laptop.back_up()


@ensure
async def test_a_generation_knows_what_it_is(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"1234")
    first = await laptop.back_up()
    second = await laptop.back_up()

    opened = await laptop.generations().get(second)
    manifest = opened.manifest
    assert (manifest.sequence, manifest.client, manifest.partial) == (2, "laptop", False)
    assert manifest.host == socket.gethostname()
    assert manifest.roots == (bytes(laptop.root),)
    assert manifest.previous is not None
    assert manifest.previous.generation == first
    assert manifest.counts["entries"] == 2
    assert manifest.counts["unchanged_bytes"] == 4


@ensure
async def test_unchanged_files_are_neither_read_nor_sent(laptop: Laptop) -> None:
    for number in range(2000):
        (laptop.root / f"file {number}").write_bytes(b"%d" % number)
    first = await laptop.back_up()

    second = await laptop.back_up()

    assert laptop.pool.jobs == []
    assert set(await laptop.reasons(second)) == set(await laptop.reasons(first))
    assert set((await laptop.reasons(second)).values()) == {UNCHANGED}
    (result,) = laptop.results[1:]
    assert (result.unchanged, result.sent.files, result.sent.chunks) == (2001, 0, 0)
    # One chunk: the page with what the generation says of itself, and the file's first page.
    (chunk_id,) = laptop.repository.stored
    manifest = (await laptop.generations().get(second)).manifest
    pages = {chunk.id: chunk.pages for chunk in manifest.database.chunks}
    assert pages[chunk_id] <= 3 < manifest.database.page_count


@ensure
async def test_what_changed_is_new_changed_or_gone(laptop: Laptop) -> None:
    root = laptop.root
    for name in ("kept", "changed", "deleted", "touched"):
        (root / name).write_bytes(name.encode())
    (root / "gone").mkdir()
    (root / "gone" / "deep").mkdir()
    (root / "gone" / "deep" / "file").write_bytes(noise(2, 500_000))
    await laptop.back_up()
    (root / "changed").write_bytes(b"other content")
    (root / "touched").chmod(0o600)
    (root / "deleted").unlink()
    (root / "gone" / "deep" / "file").unlink()
    (root / "gone" / "deep").rmdir()
    (root / "gone").rmdir()
    (root / "added").write_bytes(b"added")

    second = await laptop.back_up()

    assert await laptop.reasons(second) == {
        "kept": UNCHANGED, "changed": CHANGED, "touched": CHANGED, "added": NEW,
    }  # fmt: skip
    entries = await laptop.below(second)
    assert entries["changed"].content == b"other content"
    assert entries["touched"].row.mode == 0o600
    assert entries["kept"].content == b"kept"


@ensure
async def test_the_generation_before_stays_as_it_was(laptop: Laptop) -> None:
    file = laptop.root / "file"
    file.write_bytes(b"one")
    first = await laptop.back_up()
    file.write_bytes(b"the second")
    await laptop.back_up()
    for path in laptop.cache.glob("*.[ns]*"):
        path.unlink()

    assert (await laptop.below(first))["file"].content == b"one"


@ensure
async def test_several_roots(laptop: Laptop, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(b"other")
    (laptop.root / "file").write_bytes(b"live")
    roots = (bytes(other), bytes(laptop.root))

    entries = await laptop.read(await laptop.back_up(roots=roots))
    assert entries[bytes(other / "file")].content == b"other"
    assert entries[bytes(laptop.root / "file")].content == b"live"

    # One root less in the configuration: it is gone from the generation.
    entries = await laptop.read(await laptop.back_up(roots=(bytes(other),)))
    assert set(entries) == {bytes(other), bytes(other / "file")}


@ensure
async def test_a_dry_run_changes_nothing(laptop: Laptop) -> None:
    (laptop.root / "a").write_bytes(b"aaa")
    (laptop.root / "b").write_bytes(b"bbbb")
    result = await laptop.backup().dry_run()
    assert result.generation is None
    assert (result.entries, result.sent.files, result.sent.read_bytes) == (3, 2, 7)
    assert not laptop.server.chunks
    assert not laptop.server.sessions
    assert not laptop.server.generations
    await laptop.back_up()
    (laptop.root / "b").write_bytes(b"bbbbb")
    before = set(laptop.server.generations)

    result = await laptop.backup().dry_run()

    assert (result.entries, result.unchanged, result.sent.read_bytes) == (3, 2, 5)
    assert set(laptop.server.generations) == before
    assert list(laptop.cache.glob("*.new")) == []


@ensure
async def test_a_full_backup_reads_everything(laptop: Laptop) -> None:
    (laptop.root / "a").write_bytes(b"aaa")
    await laptop.back_up()
    # Changed behind everybody's back: the same size and times, as a failing disk would do it.
    second = await laptop.back_up(full=True)
    assert laptop.results[-1].sent.files == 1
    assert await laptop.reasons(second) == {"a": UNCHANGED}
