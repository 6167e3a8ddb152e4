"""Whole restores of what a real backup made: all of it, and parts of it."""

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.errors import NotFound, UnknownPath
from obnam.model.ids import GenerationId
from tests.support.memory_scene import Scene
from tests.unit.pool.bench import noise, write
from tests.unit.pool.conftest import left_open
from tests.unit.restore.trees import LARGE, described, fill, inside


@ensureDeferred
async def test_all_comes_back(scene: Scene, root: Path, target: Path) -> None:
    fill(root)
    before = described(root)
    generation = await scene.back_up(root)
    result = await scene.restore(generation, target)
    assert described(inside(target, root)) == before
    assert scene.warnings == []
    assert (result.files, result.directories, result.others) == (307, 4, 3)
    assert result.warnings == 0
    sparse = inside(target, root / "sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size
    (root / "a" / "b").chmod(0o700)
    inside(target, root / "a" / "b").chmod(0o700)


@ensureDeferred
async def test_a_large_file_comes_back_in_parts(scene: Scene, root: Path, target: Path) -> None:
    (root / "large").write_bytes(LARGE)
    result = await scene.restore(await scene.back_up(root), target, verify=True)
    assert inside(target, root / "large").read_bytes() == LARGE
    assert scene.pool.jobs.count("write_part") == 2
    assert scene.pool.jobs.count("finish_file") == 1
    assert (result.files, result.size_bytes, result.warnings) == (1, len(LARGE), 0)
    assert [link for link in left_open(target) if "/large" in link.partition(str(target))[2]] == []


@ensureDeferred
async def test_holes_come_back_wherever_they_are(scene: Scene, root: Path, target: Path) -> None:
    data, more = noise("data", 200_000), noise("more", 8192)
    shapes = {
        "before": [(1 << 20, data)],
        "after": [(0, data)],
        "between": [(0, data), (1 << 20, more), (2 << 20, data)],
        "everywhere": [(1 << 20, more), (2 << 20, data)],
        "nothing else": [],
    }
    for name, parts in shapes.items():
        size = None if name in ("before", "between") else 4 << 20
        write(root, name, *parts, size=size)
    before = described(root)
    result = await scene.restore(await scene.back_up(root), target, verify=True)
    assert result.warnings == 0
    assert described(inside(target, root)) == before
    for name in shapes:
        status = inside(target, root / name).stat()
        assert status.st_blocks * 512 < status.st_size


@ensureDeferred
async def test_each_chunk_of_a_neighbourhood_is_fetched_once(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(200):
        (root / f"{index:03}").write_bytes(b"%d" % index * 1000)
    generation = await scene.back_up(root)
    await scene.generations.database(await scene.generations.get(generation))
    asked: list[bytes] = []
    fetch = type(scene.repository).fetch

    def fetch_noted(self: Any, ids: Any, into: memoryview) -> Any:
        asked.extend(ids)
        return fetch(self, ids, into)

    monkeypatch.setattr(type(scene.repository), "fetch", fetch_noted)
    await scene.restore(generation, target)
    assert sorted(asked) == sorted(scene.data_chunks())


@ensureDeferred
async def test_several_roots_keep_their_paths(scene: Scene, root: Path, target: Path) -> None:
    for name in ("one", "two"):
        (root / name / "x").mkdir(parents=True)
        (root / name / "x" / "file").write_text(name)
    (root / "one").chmod(0o700)
    generation = await scene.back_up(root / "one", root / "two")
    result = await scene.restore(generation, target)
    for name in ("one", "two"):
        assert inside(target, root / name / "x" / "file").read_text() == name
    assert inside(target, root / "one").stat().st_mode & 0o777 == 0o700
    mask = os.umask(0)
    os.umask(mask)
    assert inside(target, root).stat().st_mode & 0o777 == 0o777 & ~mask
    assert result.directories == 4


# What is wanted


@ensureDeferred
async def test_only_what_is_named_is_restored(scene: Scene, root: Path, target: Path) -> None:
    fill(root)
    generation = await scene.back_up(root)
    result = await scene.restore(generation, target, root / "a" / "b" / "deep", root / "nothing")
    top = inside(target, root)
    assert sorted(os.listdir(top)) == ["a", "nothing"]
    assert os.listdir(top / "a") == ["b"]
    assert os.listdir(top / "a" / "b") == ["deep"]
    assert len(os.listdir(top / "nothing")) == 300
    assert (result.files, result.directories) == (301, 1)
    # A directory on the way is nobody's: its mode would keep out who restores.
    assert (top / "a" / "b").stat().st_mode & 0o700 == 0o700
    (root / "a" / "b").chmod(0o700)


@ensureDeferred
async def test_a_directory_above_the_roots_names_them_all(
    scene: Scene, root: Path, target: Path
) -> None:
    (root / "one").mkdir()
    generation = await scene.back_up(root / "one")
    await scene.restore(generation, target, root)
    assert inside(target, root / "one").is_dir()


@pytest.mark.parametrize(
    ("path", "problem"),
    [(b"no", "not an absolute path"), (b"/nowhere/to/be/found", "not in the generation")],
)
@ensureDeferred
async def test_an_unknown_path_is_told_before_anything_is_written(
    scene: Scene, root: Path, target: Path, path: bytes, problem: str
) -> None:
    (root / "file").touch()
    generation = await scene.back_up(root)
    with pytest.raises(UnknownPath, match=problem):
        await scene.restore(generation, target, root / "file", path)
    assert not target.exists()


@ensureDeferred
async def test_a_path_below_a_file_is_unknown(scene: Scene, root: Path, target: Path) -> None:
    (root / "file").touch()
    generation = await scene.back_up(root)
    with pytest.raises(UnknownPath):
        await scene.restore(generation, target, root / "file" / "x")


@ensureDeferred
async def test_an_unknown_generation(scene: Scene, target: Path) -> None:
    with pytest.raises(NotFound):
        await scene.restore(GenerationId("0" * 32), target)


@ensureDeferred
async def test_a_dry_run_counts_and_writes_nothing(scene: Scene, root: Path, target: Path) -> None:
    fill(root)
    (root / "large").write_bytes(LARGE)
    generation = await scene.back_up(root)
    result = await scene.restore(generation, target, dry_run=True)
    assert not target.exists()
    assert (result.files, result.directories, result.others) == (308, 4, 3)
    (root / "a" / "b").chmod(0o700)
