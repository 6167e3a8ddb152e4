"""CACHEDIR.TAG: such a directory is kept with its tag only, and a new tag is told."""

import pytest_twisted  # type: ignore[import-untyped]

from obnam.live.scan import CACHE_TAG_SIGNATURE
from obnam.model.entry import Reason
from tests.unit.backup.laptop import Laptop

ensure = pytest_twisted.ensureDeferred
NEW, CHANGED, UNCHANGED = Reason.NEW, Reason.CHANGED, Reason.UNCHANGED
SKIPPED = Reason.SKIPPED
TAG = "CACHEDIR.TAG"


def make_cache(laptop: Laptop, tag: bytes = CACHE_TAG_SIGNATURE + b"\n# comment") -> None:
    (laptop.root / "dir" / "deep").mkdir(parents=True)
    (laptop.root / "dir" / "deep" / "file").write_bytes(b"x" * 1000)
    (laptop.root / "dir" / "file").write_bytes(b"content")
    (laptop.root / "dir" / TAG).write_bytes(tag)


@ensure
async def test_only_the_tag_is_kept(laptop: Laptop) -> None:
    make_cache(laptop)
    first = await laptop.below(await laptop.back_up())
    assert {n: e.reason for n, e in first.items() if n} == {"dir": SKIPPED, f"dir/{TAG}": NEW}
    assert first[f"dir/{TAG}"].content == CACHE_TAG_SIGNATURE + b"\n# comment"
    assert laptop.warnings == []  # on a first backup there is nothing that a tag could hide

    assert await laptop.reasons(await laptop.back_up()) == {
        "dir": SKIPPED, f"dir/{TAG}": UNCHANGED,
    }  # fmt: skip
    assert laptop.warnings == []
    assert laptop.results[-1].sent.files == 0


@ensure
async def test_a_new_tag_is_told_once(laptop: Laptop) -> None:
    make_cache(laptop)
    tag = laptop.root / "dir" / TAG
    tag.unlink()
    first = await laptop.reasons(await laptop.back_up())
    assert set(first) == {"dir", "dir/deep", "dir/deep/file", "dir/file"}
    tag.write_bytes(CACHE_TAG_SIGNATURE)

    second = await laptop.reasons(await laptop.back_up())

    assert second == {"dir": SKIPPED, f"dir/{TAG}": NEW}
    (warning,) = laptop.warnings
    assert warning.startswith(f"{laptop.root}/dir: a new CACHEDIR.TAG")
    assert laptop.results[-1].warnings == 1
    await laptop.back_up()
    assert laptop.warnings == []
    # What was there before is in the generation before.
    assert len(laptop.server.generations) == 3


@ensure
async def test_a_new_directory_with_a_tag_is_told_too(laptop: Laptop) -> None:
    await laptop.back_up()
    make_cache(laptop)
    assert await laptop.reasons(await laptop.back_up()) == {"dir": SKIPPED, f"dir/{TAG}": NEW}
    assert len(laptop.warnings) == 1


@ensure
async def test_without_its_tag_all_is_kept_again(laptop: Laptop) -> None:
    make_cache(laptop)
    await laptop.back_up()
    (laptop.root / "dir" / TAG).unlink()
    assert await laptop.reasons(await laptop.back_up()) == {
        "dir": CHANGED, "dir/deep": NEW, "dir/deep/file": NEW, "dir/file": NEW,
    }  # fmt: skip
    assert laptop.warnings == []


@ensure
async def test_what_is_no_tag(laptop: Laptop) -> None:
    make_cache(laptop, b"Signature: something else")
    assert len(await laptop.reasons(await laptop.back_up())) == 5


@ensure
async def test_cache_directories_can_be_kept(laptop: Laptop) -> None:
    make_cache(laptop)
    await laptop.back_up()
    kept = await laptop.back_up(skip_cache_directories=False)
    assert len(await laptop.reasons(kept)) == 5
    assert laptop.warnings == []
    # Skipped again: that is new, and told.
    skipped = await laptop.reasons(await laptop.back_up())
    assert skipped == {"dir": SKIPPED, f"dir/{TAG}": UNCHANGED}
    assert len(laptop.warnings) == 1


@ensure
async def test_a_root_may_be_a_cache_directory(laptop: Laptop) -> None:
    (laptop.root / TAG).write_bytes(CACHE_TAG_SIGNATURE)
    (laptop.root / "file").write_bytes(b"content")
    entries = await laptop.below(await laptop.back_up())
    assert {n: e.reason for n, e in entries.items()} == {"": SKIPPED, TAG: NEW}
