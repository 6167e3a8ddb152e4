"""A generation refers to no chunk that its files do not need: all that it keeps costs room."""

import os

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId, GenerationId
from tests.unit.backup.laptop import Laptop
from tests.unit.backup.test_healing import chunks_of
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred


def fill(laptop: Laptop, seed: int) -> None:
    """Files of all sorts: in bundles, in pieces, with a hole, larger than a slab, with links."""
    root = laptop.root
    for number in range(5):
        (root / f"small {number}").write_bytes(noise(seed + number, 5000))
    (root / "pieces").write_bytes(noise(seed + 10, 1_500_000))
    with (root / "sparse").open("r+b" if seed else "wb") as file:
        file.write(noise(seed + 11, 200_000))
        file.seek(1_000_000)
        file.write(noise(seed + 12, 200_000))
    (root / "huge").write_bytes(noise(seed + 13, 5_000_000))
    (root / "first").write_bytes(noise(seed + 14, 400_000))
    if not seed:
        os.link(root / "first", root / "second")


def data_of(laptop: Laptop, generation: GenerationId) -> set[ChunkId]:
    data = set(chunks_of(laptop.server, ChunkKind.DATA))
    return data & laptop.server.generations[generation].chunks


@ensure
@pytest.mark.parametrize("is_gone", [False, True], ids=["changed", "gone"])
async def test_nothing_of_what_was(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    fill(laptop, 0)
    first = await laptop.back_up()
    if is_gone:
        for path in laptop.root.iterdir():
            path.unlink()
    else:
        fill(laptop, 100)
    second = await laptop.back_up()
    assert len(data_of(laptop, first)) > 10
    assert bool(data_of(laptop, second)) is not is_gone
    assert not data_of(laptop, first) & data_of(laptop, second)


@ensure
@pytest.mark.parametrize("name", ["small 3", "pieces", "sparse", "huge", "first"])
async def test_what_others_have_stays(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another file of the same content goes, and the chunks are needed all the same."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    fill(laptop, 0)
    content = (laptop.root / name).read_bytes()
    await laptop.back_up()
    (laptop.root / "again").write_bytes(content)
    await laptop.back_up()
    (laptop.root / name).unlink()
    third = await laptop.back_up()
    assert (await laptop.below(third))["again"].content == content
