"""Hard links whose first name cannot be read, has vanished, or is another file by then."""

import errno

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.model.entry import Reason
from tests.unit.backup.denied import Denied
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED, ERROR = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED, Reason.ERROR


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
    new = laptop.root.with_name("new")
    a.write_bytes(noise("old", size))
    b.hardlink_to(a)
    if known:
        await laptop.back_up()
    c.hardlink_to(a)

    def replace(_name: str, _arguments: tuple[object, ...]) -> None:
        if a.stat().st_nlink == 3:
            new.write_bytes(b"new content of a alone")
            new.rename(a)

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
