"""Verification of what a real backup made, and of what became of it since."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.errors import DamagedGeneration
from obnam.model.chunk import ChunkKind
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId
from obnam.verify import names
from tests.support.memory_scene import Scene, entry_row

LARGE = random.Random(1).randbytes(40 << 20)
"""More than two slabs."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "live"
    made.mkdir()
    for number in range(20):
        (made / f"small{number}").write_bytes(b"%d" % number * 1000)
    (made / "medium").write_bytes(random.Random(2).randbytes(200 * 1024))
    (made / "large").write_bytes(LARGE)
    with open(made / "sparse", "wb") as sparse:
        sparse.write(random.Random(3).randbytes(20 << 20))
        sparse.truncate(30 << 20)
    (made / "empty").touch()
    os.symlink("nowhere", made / "link")
    return made


def chunks_of(scene: Scene, content: bytes) -> list[ChunkId]:
    """The chunks that a file, which is large enough to be cut by itself, was cut into."""
    tools = scene.pool.tools
    start, found = 0, []
    for end in tools.cutter.cut(memoryview(content), final=True):
        found.append(tools.namer.name(ChunkKind.DATA, content[start:end]))
        start = end
    return found


@ensureDeferred
async def test_all_is_well(scene: Scene, root: Path) -> None:
    generation = await scene.back_up(root)
    result = await scene.verify(generation)
    assert scene.warnings == []
    assert result.files == 24
    assert result.chunks == len(scene.data_chunks())
    assert (result.missing_chunks, result.damaged_chunks, result.damaged_files) == (0, 0, 0)
    assert scene.pool.jobs.count("open_part") > 2


@ensureDeferred
async def test_several_names_of_a_file_are_read_once(scene: Scene, root: Path) -> None:
    size = sum(path.lstat().st_size for path in root.iterdir() if not path.is_symlink())
    for name in ("large", "small7"):
        for number in range(3):
            os.link(root / name, root / f"{name} again {number}")
    result = await scene.verify(await scene.back_up(root))
    assert scene.warnings == []
    assert result.files == 24 + 6
    hole = 10 << 20  # at the end of "sparse"
    assert (result.chunks, result.size_bytes) == (len(scene.data_chunks()), size - hole)


@ensureDeferred
async def test_a_name_with_other_extents_is_read(scene: Scene) -> None:
    """Whoever restores only that one would not get what was backed up."""
    chunks = [bytes([number]) * (2 << 20) for number in range(12)]
    content = b"".join(chunks)
    orders = {5: list(range(12)), 6: [1, 0, *range(2, 12)], 7: list(range(12))}
    extents: dict[int, list[tuple[object, ...]]] = {
        number: [(at * (2 << 20), chunk + 1, 0, 2 << 20) for at, chunk in enumerate(order)]
        for number, order in orders.items()
    }
    extents[8] = [(0, "chunk", 0, 2 << 20)]
    checksum = xxhash.xxh3_128_digest(content)
    common: dict[str, Any] = {"size": len(content), "checksum": checksum, "device": 1, "inode": 2}
    rows = [entry_row(0, b"/r", Kind.DIRECTORY, number=1)] + [
        entry_row(1, name, number=number, **common)
        for name, number in ((b"first", 5), (b"same", 7), (b"senseless", 8), (b"swapped", 6))
    ]
    result = await scene.verify(await scene.commit(rows, chunks, extents))
    found = sorted(warning.split(":")[0] for warning in scene.warnings)
    assert found == ["/r/senseless", "/r/swapped"]
    assert result.chunks == 2 * len(chunks)


def lose(scene: Scene, chunk_id: ChunkId) -> None:
    del scene.server.chunks[chunk_id]


def damage(scene: Scene, chunk_id: ChunkId) -> None:
    sealed = bytearray(scene.server.chunks[chunk_id])
    sealed[50] ^= 1
    scene.server.chunks[chunk_id] = bytes(sealed)


@pytest.mark.parametrize("spoil", [lose, damage])
@ensureDeferred
async def test_what_is_lost_is_named(
    scene: Scene, root: Path, spoil: Callable[[Scene, ChunkId], None]
) -> None:
    generation = await scene.back_up(root)
    (medium,) = chunks_of(scene, (root / "medium").read_bytes())
    spoil(scene, medium)
    spoil(scene, chunks_of(scene, LARGE)[30])
    result = await scene.verify(generation)
    assert sorted(warning.split(":")[0] for warning in scene.warnings) == [
        str(root / "large"),
        str(root / "medium"),
    ]
    counts = (result.missing_chunks, result.damaged_chunks)
    assert counts == ((2, 0) if spoil is lose else (0, 2))
    assert (result.damaged_files, result.warnings) == (2, 2)
    assert f"chunk {medium.hex()}" in "".join(scene.warnings)


def link_again(root: Path, name: str, numbers: range) -> list[str]:
    """More names of a file, later in the order of names than its first one."""
    for number in numbers:
        os.link(root / name, root / f"{name} again {number}")
    return [str(root / f"{name} again {number}") for number in numbers]


@ensureDeferred
async def test_all_names_of_a_damaged_file_are_named(scene: Scene, root: Path) -> None:
    more = link_again(root, "medium", range(3)) + link_again(root, "large", range(2))
    link_again(root, "sparse", range(2))
    generation = await scene.back_up(root)
    (medium,) = chunks_of(scene, (root / "medium").read_bytes())
    lose(scene, medium)
    lose(scene, chunks_of(scene, LARGE)[30])
    result = await scene.verify(generation)
    named = sorted(warning.split(": ")[0] for warning in scene.warnings)
    assert named == sorted([*more, str(root / "large"), str(root / "medium")])
    assert (result.damaged_files, result.warnings) == (7, 7)
    assert result.files == 24 + 7
    (line,) = [w for w in scene.warnings if w.startswith(more[0])]
    assert f"as {root / 'medium'} is" in line


@ensureDeferred
async def test_very_many_names_of_a_damaged_file_are_counted(
    scene: Scene, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "NAMES_TOLD_MAX", 5)
    link_again(root, "medium", range(12))
    generation = await scene.back_up(root)
    lose(scene, chunks_of(scene, (root / "medium").read_bytes())[0])
    result = await scene.verify(generation)
    assert scene.warnings[-1] == "7 more names of damaged files: damaged, too"
    assert len(scene.warnings) == 1 + 5 + 1
    assert result.damaged_files == 13


@ensureDeferred
async def test_of_a_sample_names_that_are_known_to_be_damaged_are_named(
    scene: Scene, root: Path
) -> None:
    (again,) = link_again(root, "medium", range(1))
    generation = await scene.back_up(root)
    lose(scene, chunks_of(scene, (root / "medium").read_bytes())[0])
    result = await scene.verify(generation, sample_percent=99.9)
    assert any(warning.startswith(again) for warning in scene.warnings)
    assert result.damaged_files <= result.files


@ensureDeferred
async def test_a_swapped_chunk_is_damage(scene: Scene, root: Path) -> None:
    generation = await scene.back_up(root)
    first, second, *_ = chunks_of(scene, LARGE)
    chunks = scene.server.chunks
    chunks[first], chunks[second] = chunks[second], chunks[first]
    result = await scene.verify(generation)
    assert result.damaged_files == 1


@ensureDeferred
async def test_whole_chunks_in_the_wrong_order_are_found(scene: Scene) -> None:
    chunks = [bytes([number]) * (2 << 20) for number in range(12)]
    content = b"".join(chunks)
    swapped = [1, 0, *range(2, 12)]
    extents = {
        number: [(at * (2 << 20), chunk + 1, 0, 2 << 20) for at, chunk in enumerate(order)]
        for number, order in ((5, range(12)), (6, swapped))
    }
    checksum = xxhash.xxh3_128_digest(content)
    rows = [entry_row(0, b"/r", Kind.DIRECTORY, number=1)] + [
        entry_row(1, name, size=len(content), checksum=checksum, number=number)
        for name, number in ((b"good", 5), (b"swapped", 6))
    ]
    result = await scene.verify(await scene.commit(rows, chunks, extents))
    assert [warning.split(":")[0] for warning in scene.warnings] == ["/r/swapped"]
    assert (result.files, result.damaged_files, result.damaged_chunks) == (2, 1, 0)


@ensureDeferred
async def test_a_small_file_with_the_wrong_checksum(scene: Scene) -> None:
    rows = [
        entry_row(0, b"/r", Kind.DIRECTORY, number=1),
        entry_row(1, b"bad", size=7, checksum=b"x" * 16, chunk=1, start=0),
    ]
    result = await scene.verify(await scene.commit(rows, [b"content"]))
    assert scene.warnings == ["/r/bad: its content is not what was backed up (wrong checksum)"]
    assert result.damaged_files == 1


@ensureDeferred
async def test_rows_that_make_no_sense_are_named(scene: Scene) -> None:
    rows = [
        entry_row(0, b"/r", Kind.DIRECTORY, number=1),
        entry_row(1, b"..", size=7, checksum=b"x" * 16, chunk=1, start=0),
        entry_row(1, b"big", size=7 << 20, checksum=b"x" * 16, chunk=1, start=0),
    ]
    result = await scene.verify(await scene.commit(rows, [b"content"]))
    assert sorted(warning.split(":")[0] for warning in scene.warnings) == ["/r/..", "/r/big"]
    assert result.warnings == 2


@ensureDeferred
async def test_a_sample_takes_a_part(scene: Scene, root: Path) -> None:
    generation = await scene.back_up(root)
    none = await scene.verify(generation, 50, lambda: 0.5)
    assert (none.files, none.chunks) == (0, 0)
    rolls = iter([0.9, 0.1] * 10)
    some = await scene.verify(generation, 50, lambda: next(rolls))
    assert 0 < some.files < 24
    assert 0 < some.chunks < len(scene.data_chunks())
    everything = await scene.verify(generation, 50, lambda: 0.0)
    assert everything.chunks == len(scene.data_chunks())


@ensureDeferred
async def test_a_damaged_database_is_told(scene: Scene, root: Path) -> None:
    (root / "large").unlink()
    generation = await scene.back_up(root)
    for path in (scene.folder / "cache").glob("*.sqlite"):
        path.unlink()
    opened = await scene.generations.get(generation)
    damage(scene, opened.manifest.database.chunks[0].id)
    with pytest.raises(DamagedGeneration):
        await scene.verify(generation)
