"""Generations that no backup makes: each wrong thing is named, nothing leaves the target."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import xxhash
from attrs import evolve
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.errors import DamagedGeneration
from obnam.generation.pagemap import PageMap
from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind
from tests.support.memory_scene import Scene, entry_row

ROOT = entry_row(0, b"/r", Kind.DIRECTORY, number=1)
CONTENT = b"content"


def file_row(directory: int, name: bytes, content: bytes = CONTENT, **more: Any) -> EntryRow:
    """A file whose content is all of chunk 1."""
    values: dict[str, Any] = {
        "size": len(content),
        "checksum": xxhash.xxh3_128_digest(content),
        "chunk": 1,
        "start": 0,
    }
    return entry_row(directory, name, **(values | more))


GOOD = file_row(1, b"good")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "target"


def all_in(top: Path) -> list[str]:
    """What there is below a directory, links not followed."""
    return sorted(
        os.path.relpath(os.path.join(where, name), top)
        for where, directories, files in os.walk(top)
        for name in (*directories, *files)
    )


async def restored(scene: Scene, target: Path, rows: list[Any], **more: Any) -> list[str]:
    """Restore these rows and one good file; which must come back, whatever the others are."""
    target.parent.mkdir()
    chunks = more.pop("chunks", [CONTENT])
    generation = await scene.commit([ROOT, GOOD, *rows], chunks, **more)
    result = await scene.restore(generation, target)
    assert (target / "r" / "good").read_bytes() == CONTENT
    assert result.warnings == len(scene.warnings)
    assert os.listdir(target.parent) == ["target"]
    return scene.warnings


@pytest.mark.parametrize(
    "name", [b"../evil", b"..", b".", b"", b"a/b", b"/etc/evil", b"nul\0", b"n" * 4096]
)
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK])
@ensureDeferred
async def test_names_that_lead_out(scene: Scene, target: Path, name: bytes, kind: Kind) -> None:
    more: dict[Kind, Any] = {Kind.DIRECTORY: {"number": 2}, Kind.SYMLINK: {"target": b"/"}}
    row = file_row(1, name) if kind is Kind.FILE else entry_row(1, name, kind, **more[kind])
    warnings = await restored(scene, target, [row, file_row(2, b"below")])
    assert all_in(target) == ["r", "r/good"]
    assert len(warnings) == 1
    assert "that is no name of a file" in warnings[0]


@pytest.mark.parametrize("name", [b"relative", b"/../evil", b"/a//b", b"/r/./x", b""])
@ensureDeferred
async def test_roots_that_are_no_paths(scene: Scene, target: Path, name: bytes) -> None:
    rows = [entry_row(0, name, Kind.DIRECTORY, number=2), file_row(2, b"below")]
    assert len(await restored(scene, target, rows)) == 1
    assert all_in(target) == ["r", "r/good"]


@ensureDeferred
async def test_a_directory_below_a_link(scene: Scene, target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    rows = [
        entry_row(0, b"/link", Kind.SYMLINK, target=os.fsencode(outside)),
        entry_row(0, b"/link/in", Kind.DIRECTORY, number=2),
        file_row(2, b"evil"),
    ]
    warnings = await restored(scene, target, rows)
    assert list(outside.iterdir()) == []
    assert len(warnings) >= 1


@ensureDeferred
async def test_a_link_and_a_directory_of_one_name(
    scene: Scene, target: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    rows = [
        entry_row(1, b"x", Kind.SYMLINK, target=os.fsencode(outside)),
        entry_row(0, b"/r/x", Kind.DIRECTORY, number=2),
        file_row(2, b"evil"),
    ]
    assert len(await restored(scene, target, rows)) >= 1
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("number", [1, 2])
@ensureDeferred
async def test_loops_of_directories(scene: Scene, target: Path, number: int) -> None:
    rows = [
        entry_row(1, b"a", Kind.DIRECTORY, number=2),
        entry_row(2, b"b", Kind.DIRECTORY, number=number),
        entry_row(2, b"c", Kind.DIRECTORY, number=number),
    ]
    warnings = await restored(scene, target, rows)
    assert [warning.split(":")[0] for warning in warnings] == ["/r/a/b", "/r/a/c"]
    assert all("loop" in warning for warning in warnings)


@pytest.mark.parametrize(
    "more",
    [
        {"size": 1 << 62},
        {"size": -1},
        {"start": -1},
        {"start": 1},
        {"start": 1 << 62},
        {"chunk": 99},
        {"size": "many"},
        {"mode": "all"},
        {"mtime_ns": None},
        {"mtime_ns": 1.5},
        {"checksum": "text"},
        {"checksum": b"\0" * 16},
        {"attributes": b"nonsense"},
        {"kind": 99},
        {"name": "text"},
        {"reason": b"x"},
        {"chunk": None, "start": None, "number": 7},
        {"chunk": None, "start": None, "size": 1 << 62},
        {"chunk": None, "start": None, "size": 1 << 62, "number": 7},
    ],
)
@ensureDeferred
async def test_rows_that_make_no_sense(scene: Scene, target: Path, more: dict[str, Any]) -> None:
    row = file_row(1, b"bad")._replace(**more)
    warnings = await restored(scene, target, [row])
    assert all_in(target) == ["r", "r/good"]
    assert len(warnings) == 1
    assert "not restored" in warnings[0]


@pytest.mark.parametrize(
    "extents",
    [
        [(0, 1, 0, 8)],
        [(0, 1, 0, 4), (3, 1, 4, 3)],
        [(-1, 1, 0, 4)],
        [(4, 1, 0, 7)],
        [(0, 1, 0, 0)],
        [(0, 1, 4, -4)],
        [(0, 1, 0, 1 << 62)],
        [(0, 9, 0, 7)],
        [(0, "one", 0, 7)],
        [(0, 1, 0, b"seven")],
    ],
)
@ensureDeferred
async def test_extents_that_make_no_sense(scene: Scene, target: Path, extents: Any) -> None:
    row = file_row(1, b"bad", chunk=None, start=None, number=5)
    assert len(await restored(scene, target, [row], extents={5: extents})) == 1
    assert all_in(target) == ["r", "r/good"]


@pytest.mark.parametrize(
    "extents", [[(0, 1, 0, 7)], [((1 << 62) - 7, 1, 0, 7)], [(0, 2, 0, 7), (1 << 61, 1, 0, 7)]]
)
@ensureDeferred
async def test_holes_that_would_be_summed_up_for_years(
    scene: Scene, target: Path, extents: Any
) -> None:
    row = file_row(1, b"bad", chunk=None, start=None, number=5, size=1 << 62)
    generation_has: dict[str, Any] = {"extents": {5: extents}, "chunks": [CONTENT, b"another"]}
    assert len(await restored(scene, target, [row], **generation_has)) == 1
    assert all_in(target) == ["r", "r/good"]


@ensureDeferred
async def test_holes_of_a_large_file_that_would_be_summed_up_for_years(
    scene: Scene, target: Path
) -> None:
    chunk = b"x" * (2 << 20)
    extents = [(at * len(chunk), 2, 0, len(chunk)) for at in range(40)]
    row = file_row(1, b"bad", size=1 << 62, chunk=None, start=None, number=5)
    warnings = await restored(scene, target, [row], chunks=[CONTENT, chunk], extents={5: extents})
    assert warnings == ["/r/bad: not restored: what the generation says of it makes no sense"]
    assert all_in(target) == ["r", "r/good"]


@pytest.mark.parametrize("length", [0, -5, 1 << 40, "long"])
@ensureDeferred
async def test_chunks_of_impossible_length(scene: Scene, target: Path, length: int) -> None:
    row = file_row(1, b"bad", chunk=2)
    warnings = await restored(
        scene, target, [row], chunks=[CONTENT, b"another"], lengths={2: length}
    )
    assert len(warnings) == 1


@ensureDeferred
async def test_a_chunk_that_is_shorter_than_it_is_said_to_be(scene: Scene, target: Path) -> None:
    row = file_row(1, b"bad", chunk=2, size=1000)
    warnings = await restored(scene, target, [row], chunks=[CONTENT, b"another"], lengths={2: 1000})
    assert "is shorter than it must be" in warnings[0]


@ensureDeferred
async def test_a_large_file_that_stops_making_sense(scene: Scene, target: Path) -> None:
    chunk = b"x" * (2 << 20)
    size = 40 * len(chunk)
    extents = [(at, 2, 0, len(chunk)) for at in range(0, size, len(chunk))]
    extents[-1] = (size - 1, 2, 0, len(chunk))
    row = file_row(1, b"bad", size=size, chunk=None, start=None, number=5)
    warnings = await restored(scene, target, [row], chunks=[CONTENT, chunk], extents={5: extents})
    assert warnings == ["/r/bad: not restored: what the generation says of it makes no sense"]
    assert all_in(target) == ["r", "r/good"]


@ensureDeferred
async def test_device_numbers_out_of_range(scene: Scene, target: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    row = entry_row(1, b"bad", Kind.CHARACTER_DEVICE, device=-1)
    assert len(await restored(scene, target, [row])) == 1


@ensureDeferred
async def test_a_manifest_without_a_database(scene: Scene, tmp_path: Path) -> None:
    opened = await scene.generations.get(await scene.commit([ROOT]))
    shutil.rmtree(scene.folder / "cache")
    nothing = evolve(opened, manifest=evolve(opened.manifest, database=PageMap((), ())))
    with pytest.raises(DamagedGeneration, match="has no database"):
        await scene.generations.database(nothing)


@ensureDeferred
async def test_directories_with_numbers_far_apart(scene: Scene, target: Path) -> None:
    """What was seen of them is noted, in bounds."""
    rows = [entry_row(1, b"%d" % n, Kind.DIRECTORY, number=(n + 1) << 40) for n in range(300)]
    assert await restored(scene, target, rows) == []
    assert len(os.listdir(target / "r")) == 301


@ensureDeferred
async def test_files_that_once_had_one_inode_are_not_linked(scene: Scene, target: Path) -> None:
    rows = [
        file_row(1, b"a", device=1, inode=2),
        file_row(1, b"b", b"another", device=1, inode=2, chunk=2),
    ]
    assert await restored(scene, target, rows, chunks=[CONTENT, b"another"]) == []
    assert (target / "r" / "a").read_bytes() == CONTENT
    assert (target / "r" / "b").read_bytes() == b"another"


@ensureDeferred
async def test_a_root_in_another_comes_back_once(scene: Scene, target: Path) -> None:
    rows = [
        entry_row(1, b"inner", Kind.DIRECTORY, number=2),
        file_row(2, b"file"),
        entry_row(0, b"/r/inner", Kind.DIRECTORY, number=3),
        file_row(3, b"file"),
    ]
    assert await restored(scene, target, rows) == []
    assert all_in(target) == ["r", "r/good", "r/inner", "r/inner/file"]


@ensureDeferred
async def test_the_root_of_all(scene: Scene, target: Path) -> None:
    target.parent.mkdir()
    rows = [
        entry_row(0, b"/", Kind.DIRECTORY, number=1, mode=0o711),
        file_row(1, b"file"),
    ]
    generation = await scene.commit(rows, [CONTENT])
    await scene.restore(generation, target)
    assert (target / "file").read_bytes() == CONTENT
    assert target.stat().st_mode & 0o777 == 0o711
