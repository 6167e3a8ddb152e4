"""Whole backups to a server in memory, read back by hand."""

import hashlib
import os
import socket
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.errors import BadRoot, DamagedGeneration, ServerFull
from obnam.model.entry import Kind, Reason
from tests.unit.backup.laptop import Laptop

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED


def random_bytes(seed: int, length: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(length)


@ensure
async def test_a_first_backup_keeps_everything(laptop: Laptop) -> None:
    root = laptop.root
    (root / "empty").touch()
    (root / "small").write_bytes(b"small content")
    (root / "large").write_bytes(random_bytes(1, 3_000_000))
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
    assert entries["large"].content == random_bytes(1, 3_000_000)
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
    (root / "gone" / "deep" / "file").write_bytes(random_bytes(2, 500_000))
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
    for path in laptop.cache.iterdir():
        path.unlink()

    assert (await laptop.below(first))["file"].content == b"one"


@ensure
async def test_an_entry_that_is_something_else_now(laptop: Laptop) -> None:
    root = laptop.root
    (root / "a").mkdir()
    (root / "a" / "inside").write_bytes(b"inside")
    (root / "b").write_bytes(random_bytes(3, 300_000))
    (root / "c").symlink_to("b")
    await laptop.back_up()
    (root / "a" / "inside").unlink()
    (root / "a").rmdir()
    (root / "a").write_bytes(b"a file now")
    (root / "b").unlink()
    (root / "b").mkdir()
    (root / "b" / "new").write_bytes(b"new")
    (root / "c").unlink()
    os.mkfifo(root / "c")

    second = await laptop.back_up()

    entries = await laptop.below(second)
    assert {name: entry.kind.letter for name, entry in entries.items()} == {
        "": "d", "a": "f", "b": "d", "b/new": "f", "c": "p",
    }  # fmt: skip
    assert entries["a"].content == b"a file now"
    assert set(await laptop.reasons(second)) == {"a", "b", "b/new", "c"}
    assert set((await laptop.reasons(second)).values()) == {NEW}


@ensure
@pytest.mark.parametrize("length", [10, 5_000_000])
async def test_hard_links_have_one_content(laptop: Laptop, length: int) -> None:
    root = laptop.root
    (root / "a").write_bytes(random_bytes(4, length))
    (root / "d").mkdir()
    (root / "d" / "b").hardlink_to(root / "a")
    (root / "z").hardlink_to(root / "a")

    first = await laptop.back_up()
    assert laptop.results[-1].sent.files == 1
    second = await laptop.back_up()
    assert laptop.results[-1].sent.files == 0

    for generation in (first, second):
        entries = await laptop.below(generation)
        linked = [entries[name].row for name in ("a", "d/b", "z")]
        assert len({(row.device, row.inode) for row in linked}) == 1
        assert linked[0].device == root.stat().st_dev
        assert {entries[n].content for n in ("a", "d/b", "z")} == {random_bytes(4, length)}


@ensure
async def test_a_link_more_and_a_link_less(laptop: Laptop) -> None:
    root = laptop.root
    (root / "a").write_bytes(random_bytes(5, 400_000))
    await laptop.back_up()
    (root / "b").hardlink_to(root / "a")
    second = await laptop.below(await laptop.back_up())
    assert second["a"].row.inode == second["b"].row.inode
    assert second["a"].reason == CHANGED  # its count of links did
    assert second["b"].reason == NEW
    assert laptop.results[-1].sent.chunks == 0
    (root / "a").unlink()
    third = await laptop.below(await laptop.back_up())
    assert set(third) == {"", "b"}
    assert third["b"].content == random_bytes(5, 400_000)
    assert third["b"].row.device is None


@ensure
async def test_holes_stay_holes(laptop: Laptop) -> None:
    data = random_bytes(6, 200_000)
    with (laptop.root / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(data)
        file.seek(40 << 20)
        file.write(data)
        file.truncate(50 << 20)
    with (laptop.root / "all hole").open("wb") as file:
        file.truncate(200_000)

    entries = await laptop.below(await laptop.back_up())

    sparse = entries["sparse"]
    assert sparse.content is not None
    assert sparse.content[1 << 20 :][: len(data)] == sparse.content[40 << 20 :][: len(data)] == data
    assert len(sparse.content) == 50 << 20
    assert sum(stop - start for start, stop in sparse.holes) > 49 << 20
    assert entries["all hole"].content == bytes(200_000)
    assert entries["all hole"].holes == ((0, 200_000),)


@ensure
async def test_a_file_larger_than_a_slab(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    content = random_bytes(7, 9_000_001)
    (laptop.root / "huge").write_bytes(content)
    (laptop.root / "link").hardlink_to(laptop.root / "huge")

    first = await laptop.below(await laptop.back_up())
    jobs = list(laptop.pool.jobs)
    second = await laptop.below(await laptop.back_up(full=True))

    assert jobs.count("name_part") >= 5
    assert first["huge"].content == second["huge"].content == content
    assert first["link"].content == second["link"].content == content
    assert laptop.results[-1].sent.chunks == 0
    # Read again, but what it is did not change.
    assert {second[name].reason for name in ("huge", "link")} == {UNCHANGED}


@ensure
async def test_a_huge_file_is_cut_the_same_whatever_the_slab(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (laptop.root / "huge").write_bytes(random_bytes(8, 9_000_001))
    await laptop.back_up()
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)

    await laptop.back_up(full=True)

    assert laptop.pool.jobs.count("name_part") >= 5
    assert laptop.results[-1].sent.chunks == 0


@ensure
async def test_the_same_content_twice_is_sent_once(laptop: Laptop) -> None:
    for name in ("a", "b", "c"):
        (laptop.root / name).write_bytes(random_bytes(9, 1_000_000))
    await laptop.back_up()
    assert len(laptop.repository.stored) == len(set(laptop.repository.stored))
    (laptop.root / "copy").write_bytes(random_bytes(9, 1_000_000))
    await laptop.back_up()
    assert laptop.results[-1].sent.chunks == 0


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
@pytest.mark.parametrize("kind", ["missing", "file", "link"])
async def test_a_bad_root_stops_everything(laptop: Laptop, tmp_path: Path, kind: str) -> None:
    bad = tmp_path / "bad"
    if kind == "file":
        bad.touch()
    if kind == "link":
        bad.symlink_to(laptop.root)
    (laptop.root / "file").write_bytes(b"content")

    with pytest.raises(BadRoot):
        await laptop.back_up(roots=(bytes(laptop.root), bytes(bad)))

    assert laptop.server.generations == {}
    assert laptop.server.chunks == {}
    assert list(laptop.cache.iterdir()) == []


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


@ensure
async def test_names_of_any_bytes(laptop: Laptop) -> None:
    top = bytes(laptop.root)
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b"x" * 255):
        Path(os.fsdecode(os.path.join(top, name))).write_bytes(name)
    os.symlink(b"\xfe/\xff", os.path.join(top, b"\xfd"))
    entries = await laptop.read(await laptop.back_up())
    assert entries[os.path.join(top, b"\xff\xfe")].content == b"\xff\xfe"
    assert entries[os.path.join(top, b"\xfd")].row.target == b"\xfe/\xff"
    assert len(entries) == 6


@ensure
async def test_a_directory_of_many_slices(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.live.scan.SLICE_ENTRIES", 7)
    names = [f"{number:03}" for number in range(100)]
    for name in names:
        (laptop.root / name).write_bytes(name.encode())
    await laptop.back_up()
    for name in names[10:30:2] + names[98:]:
        (laptop.root / name).unlink()
    (laptop.root / "0").touch()
    (laptop.root / "zz").touch()
    left = set(names) - set(names[10:30:2]) - set(names[98:])

    second = await laptop.reasons(await laptop.back_up())

    assert second == dict.fromkeys(left, UNCHANGED) | {"0": NEW, "zz": NEW}


@ensure
async def test_a_server_that_is_full(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    for number in range(12):
        (laptop.root / f"file {number:02}").write_bytes(random_bytes(number, 700_000))
    (laptop.root / "huge").write_bytes(random_bytes(100, 6_000_000))
    room = iter(range(3))

    def full() -> None:
        if next(room, None) is None:
            raise ServerFull("memory")

    laptop.repository.before_store = full
    with pytest.raises(ServerFull):
        await laptop.back_up()
    assert laptop.server.generations == {}
    assert list(laptop.cache.iterdir()) == []
    stored = set(laptop.server.chunks)
    assert stored

    laptop.repository.before_store = lambda: None
    generation = await laptop.back_up()

    assert not stored.intersection(laptop.repository.stored)
    entries = await laptop.below(generation)
    assert entries["huge"].content == random_bytes(100, 6_000_000)
    assert entries["file 07"].content == random_bytes(7, 700_000)


@ensure
async def test_a_lost_database_is_no_lost_backup(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    (laptop.root / "cache").mkdir()
    (laptop.root / "cache" / "CACHEDIR.TAG").write_bytes(
        b"Signature: 8a477f597d28d172789f06886806bc55"
    )
    first = await laptop.back_up()
    for path in laptop.cache.iterdir():
        path.unlink()
    for chunk in (await laptop.generations().get(first)).manifest.database.chunks:
        del laptop.server.chunks[chunk.id]
    with pytest.raises(DamagedGeneration):
        await laptop.read(first)

    second = await laptop.back_up()

    assert len(laptop.warnings) == 1  # and none of them about tags, of which nothing is known
    assert "all files are read again" in laptop.warnings[0]
    assert laptop.results[-1].warnings == 1
    assert (await laptop.below(second))["file"].content == b"content"
    manifest = (await laptop.generations().get(second)).manifest
    assert (manifest.sequence, manifest.previous and manifest.previous.generation) == (2, first)
    await laptop.back_up()
    assert laptop.warnings == []


@ensure
async def test_the_cache_may_be_deleted_at_any_time(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    for path in laptop.cache.iterdir():
        path.unlink()
    laptop.cache.rmdir()
    assert await laptop.reasons(await laptop.back_up()) == {"file": UNCHANGED}
    assert laptop.warnings == []


@ensure
async def test_a_commit_that_is_refused_changes_nothing(laptop: Laptop) -> None:
    file = laptop.root / "file"
    file.write_bytes(b"content")
    await laptop.back_up()
    file.write_bytes(b"another content")

    def refuse() -> None:
        raise ServerFull("memory")

    laptop.repository.before_commit = refuse
    with pytest.raises(ServerFull):
        await laptop.back_up()
    laptop.repository.before_commit = lambda: None
    generation = await laptop.back_up()
    assert laptop.results[-1].sent.chunks == 0
    assert (await laptop.below(generation))["file"].content == b"another content"
    assert (await laptop.generations().get(generation)).manifest.sequence == 2
