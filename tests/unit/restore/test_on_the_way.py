"""What stands in the target on the way to what is to be restored."""

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.live.overwrite import Overwrite
from tests.support.memory_scene import Scene
from tests.unit.restore.trees import inside


@pytest.mark.parametrize("overwrite", [Overwrite.IF_CHANGED, Overwrite.ALWAYS])
@ensureDeferred
async def test_a_link_on_the_way_is_neither_followed_nor_replaced(
    scene: Scene, root: Path, target: Path, overwrite: Overwrite
) -> None:
    """A root can lie behind a link, as /var/www does of some: a restore into / must not lose it."""
    (root / "real" / "site").mkdir(parents=True)
    (root / "real" / "site" / "file").write_bytes(b"content")
    (root / "www").symlink_to("real")
    site = root / "www" / "site"
    generation = await scene.back_up(site)
    there = inside(target, root)
    (there / "real" / "site").mkdir(parents=True)
    (there / "www").symlink_to("real")

    result = await scene.restore(generation, target, site / "file", overwrite=overwrite)

    assert (there / "www").is_symlink()
    assert list((there / "real" / "site").iterdir()) == []
    assert result.lost
    assert scene.warnings[0] == (
        f"{root}/www: not restored: a symbolic link stands in its place; "
        f"restore into another directory, and move it from there"
    )


@ensureDeferred
async def test_a_file_on_the_way_stays(scene: Scene, root: Path, target: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_bytes(b"content")
    generation = await scene.back_up(root)
    there = inside(target, root)
    there.mkdir(parents=True)
    (there / "a").write_bytes(b"someone's")
    await scene.restore(generation, target, root / "a" / "b", overwrite=Overwrite.ALWAYS)
    assert (there / "a").read_bytes() == b"someone's"
    # What is asked for itself is replaced, as before.
    await scene.restore(generation, target, root / "a", overwrite=Overwrite.ALWAYS)
    assert (there / "a" / "b" / "file").read_bytes() == b"content"
