"""Links, holes, huge files and odd names, from live data to the server and back."""

import os
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.model.entry import Reason
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED


@ensure
async def test_an_entry_that_is_something_else_now(laptop: Laptop) -> None:
    root = laptop.root
    (root / "a").mkdir()
    (root / "a" / "inside").write_bytes(b"inside")
    (root / "b").write_bytes(noise(3, 300_000))
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
    (root / "a").write_bytes(noise(4, length))
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
        assert {entries[n].content for n in ("a", "d/b", "z")} == {noise(4, length)}


@ensure
async def test_a_link_more_and_a_link_less(laptop: Laptop) -> None:
    root = laptop.root
    (root / "a").write_bytes(noise(5, 400_000))
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
    assert third["b"].content == noise(5, 400_000)
    assert third["b"].row.device is None


@ensure
async def test_holes_stay_holes(laptop: Laptop) -> None:
    data = noise(6, 200_000)
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
async def test_names_of_one_symbolic_link(laptop: Laptop) -> None:
    """By device and inode a restore knows that they are one."""
    (laptop.root / "a").symlink_to("there")
    os.link(laptop.root / "a", laptop.root / "b", follow_symlinks=False)
    (laptop.root / "alone").symlink_to("there")
    entries = await laptop.below(await laptop.back_up())
    status = (laptop.root / "a").lstat()
    for name in ("a", "b"):
        assert (entries[name].row.device, entries[name].row.inode) == (status.st_dev, status.st_ino)
    assert entries["alone"].row.device is None
    assert set((await laptop.reasons(await laptop.back_up())).values()) == {UNCHANGED}


@ensure
async def test_a_file_larger_than_a_slab(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    content = noise(7, 9_000_001)
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
    (laptop.root / "huge").write_bytes(noise(8, 9_000_001))
    await laptop.back_up()
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)

    await laptop.back_up(full=True)

    assert laptop.pool.jobs.count("name_part") >= 5
    assert laptop.results[-1].sent.chunks == 0


@ensure
async def test_the_same_content_twice_is_sent_once(laptop: Laptop) -> None:
    for name in ("a", "b", "c"):
        (laptop.root / name).write_bytes(noise(9, 1_000_000))
    await laptop.back_up()
    assert len(laptop.repository.stored) == len(set(laptop.repository.stored))
    (laptop.root / "copy").write_bytes(noise(9, 1_000_000))
    await laptop.back_up()
    assert laptop.results[-1].sent.chunks == 0


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
