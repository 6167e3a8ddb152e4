"""What is damaged on the server is made again from live data, or else is no longer relied on."""

import os
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.backup.heal import _made_again
from obnam.crypto.names import Namer
from obnam.crypto.seal import Opener
from obnam.errors import SealBroken
from obnam.generation.usage import Usage, Use
from obnam.model.chunk import ChunkKind
from obnam.model.entry import Reason
from obnam.model.ids import ChunkId
from tests.support.memory_repository import MemoryServer
from tests.unit.backup.laptop import KEYS, Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
UNCHANGED, CHANGED = Reason.UNCHANGED, Reason.CHANGED


def chunks_of(server: MemoryServer, kind: ChunkKind) -> list[ChunkId]:
    """All chunks of a kind, in the order in which they came."""
    opener, found = Opener(KEYS), []
    for chunk_id, sealed in server.chunks.items():
        try:
            opener.open(kind, chunk_id, sealed)
        except SealBroken:
            continue
        found.append(chunk_id)
    return found


def fill(root: Path) -> None:
    """A tree of files in bundles, files in pieces, a sparse one, links, and two of one content."""
    (root / "many").mkdir()
    for number in range(300):
        (root / "many" / f"{number:03}").write_bytes(noise(number, 5000 + number))
    (root / "large").write_bytes(noise(1000, 5_000_000))
    (root / "larger").write_bytes(noise(1001, 20_000_000))  # more than a slab
    (root / "same").write_bytes(noise(1002, 300_000))
    (root / "again").write_bytes(noise(1002, 300_000))
    os.link(root / "large", root / "link")
    with (root / "sparse").open("wb") as file:
        file.write(noise(1003, 700_000))
        file.seek(5_000_000)
        file.write(noise(1004, 700_000))
    (root / "empty").touch()


@ensure
async def test_all_that_was_lost_is_made_again(laptop: Laptop) -> None:
    fill(laptop.root)
    first = await laptop.back_up()
    second = await laptop.back_up()
    before = {c: laptop.server.chunks[c] for c in chunks_of(laptop.server, ChunkKind.DATA)}
    expected = await laptop.below(first)
    assert len(before) > 20
    for chunk_id in before:
        laptop.server.break_chunk(chunk_id)

    third = await laptop.back_up()

    assert laptop.server.damaged == set()
    assert set(before) <= laptop.server.chunks.keys()
    result = laptop.results[-1]
    assert (result.healed_chunks, result.warnings) == (len(before), 0)
    assert (result.unchanged, result.sent.files) == (len(expected), 0)
    assert laptop.warnings == []
    for generation in (first, second, third):
        found = await laptop.below(generation)
        assert {p: e.content for p, e in found.items()} == {
            p: e.content for p, e in expected.items()
        }
    assert set((await laptop.reasons(third)).values()) == {UNCHANGED}


@ensure
async def test_nothing_is_asked_when_nothing_is_damaged(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> None:
        raise AssertionError

    (laptop.root / "file").write_bytes(b"1234")
    await laptop.back_up()
    monkeypatch.setattr("obnam.backup.heal.damaged_ids", ask)
    await laptop.back_up()


@ensure
async def test_a_file_that_was_only_touched_still_has_its_content(laptop: Laptop) -> None:
    fill(laptop.root)
    first = await laptop.back_up()
    for path in laptop.root.rglob("*"):
        os.utime(path, ns=(1, 1))
    chunks = chunks_of(laptop.server, ChunkKind.DATA)
    for chunk_id in chunks:
        laptop.server.break_chunk(chunk_id)
    await laptop.back_up()
    assert laptop.results[-1].healed_chunks == len(chunks)
    assert (await laptop.below(first))["large"].content == noise(1000, 5_000_000)


@ensure
@pytest.mark.parametrize("other", [b"other content", noise(99, 5000)], ids=["size", "content"])
async def test_what_has_changed_is_lost_and_the_rest_is_read_again(
    laptop: Laptop, other: bytes
) -> None:
    """Though all bytes that the chunk had may be there, their name is not the chunk's."""
    for number in range(20):
        (laptop.root / f"{number:02}").write_bytes(noise(number, 5000))
    (laptop.root / "large").write_bytes(noise(1000, 300_000))
    (laptop.root / "untouched").write_bytes(noise(1001, 300_000))
    first = await laptop.back_up()
    bundle, *_ = [
        c for c in chunks_of(laptop.server, ChunkKind.DATA) if await uses(laptop, c, "07")
    ]
    (laptop.root / "07").write_bytes(other)
    laptop.server.break_chunk(bundle)

    second = await laptop.back_up()

    # The old bundle cannot be made again, but nobody who is alive needs it.
    assert laptop.server.damaged == {bundle}
    result = laptop.results[-1]
    assert (result.healed_chunks, result.sent.files, result.warnings) == (0, 20, 0)
    reasons = await laptop.reasons(second)
    assert reasons.pop("07") is CHANGED
    assert set(reasons.values()) == {UNCHANGED}
    found = await laptop.below(second)
    assert found["07"].content == other
    assert found["08"].content == noise(8, 5000)
    assert found["large"].content == noise(1000, 300_000)
    page = await laptop.repository.damage(0)
    assert [(c.chunk_id, c.generations) for c in page.chunks] == [(bundle, (first,))]

    await laptop.back_up()
    assert laptop.results[-1].sent.files == 0


async def uses(laptop: Laptop, chunk_id: ChunkId, name: str) -> bool:
    latest = laptop.server.latest_of(laptop.repository.name)
    assert latest is not None
    generations = laptop.generations()
    path = await generations.database(generations.open(latest))
    try:
        with closing(Usage(path, [chunk_id])) as usage:
            return bytes(laptop.root / name) in usage.paths()[0]
    finally:
        path.unlink()


@ensure
async def test_pages_of_the_database(laptop: Laptop) -> None:
    for number in range(3000):
        (laptop.root / f"file {number}").write_bytes(b"%d" % number)
    first = await laptop.back_up()
    (laptop.root / "file 7").write_bytes(b"seven")
    second = await laptop.back_up()
    old = (await laptop.generations().get(first)).manifest.database.chunks
    new = (await laptop.generations().get(second)).manifest.database.chunks
    own, shared = set(new) - set(old), set(new) & set(old)
    assert own
    assert shared
    for chunk in (*own, *shared):
        laptop.server.break_chunk(chunk.id)

    third = await laptop.back_up()

    # Those of the newest can all be made again; of those that it shares, some pages are history.
    assert laptop.server.damaged <= {chunk.id for chunk in shared}
    assert laptop.results[-1].warnings == 0
    for path in laptop.cache.glob("*.[ns]*"):
        path.unlink()
    assert (await laptop.below(third))["file 7"].content == b"seven"
    for damaged in (await laptop.repository.damage(0)).chunks:
        assert third not in damaged.generations


@ensure
async def test_a_lost_database_and_nothing_cached(laptop: Laptop) -> None:
    """Then everything is read again, as before; chunks are asked for, and sent when they lack."""
    fill(laptop.root)
    first = await laptop.back_up()
    for path in laptop.cache.glob("*.[ns]*"):
        path.unlink()
    for chunk_id in [*laptop.server.chunks]:
        laptop.server.break_chunk(chunk_id)
    second = await laptop.back_up()
    (warning,) = laptop.warnings
    assert "all files are read again" in warning
    assert (await laptop.below(second))["large"].content == noise(1000, 5_000_000)
    remaining = {c.chunk_id for c in (await laptop.repository.damage(0)).chunks}
    assert remaining == {
        c.id for c in (await laptop.generations().get(first)).manifest.database.chunks
    }


@ensure
async def test_a_changed_file_with_a_piece_that_was_damaged(laptop: Laptop) -> None:
    """What is read anyway is not taken for granted on the server."""
    (laptop.root / "large").write_bytes(noise(1, 4_000_000))
    await laptop.back_up()
    chunks = chunks_of(laptop.server, ChunkKind.DATA)
    for chunk_id in chunks:
        laptop.server.break_chunk(chunk_id)
    (laptop.root / "large").write_bytes(noise(1, 4_000_000) + b"more")
    second = await laptop.back_up()
    assert laptop.warnings == []
    assert (await laptop.below(second))["large"].content == noise(1, 4_000_000) + b"more"
    assert laptop.server.damaged == set()


@pytest.mark.parametrize("length", [0, -1, 1 << 50])
def test_a_chunk_of_a_size_that_none_has_is_not_made(length: int) -> None:
    """The database says so, which somebody else may have made."""

    def uses() -> list[Use]:
        raise AssertionError

    assert _made_again(Namer(KEYS), ChunkId(b"\x01" * 33), length, uses) is None


@ensure
async def test_a_file_that_is_as_it_was_comes_before_one_that_is_not(laptop: Laptop) -> None:
    """Both had the chunk, and the first one has other bytes now."""
    for name in ("a", "b"):
        (laptop.root / name).write_bytes(noise(1, 300_000))
    await laptop.back_up()
    chunks = chunks_of(laptop.server, ChunkKind.DATA)
    for chunk_id in chunks:
        laptop.server.break_chunk(chunk_id)
    (laptop.root / "a").write_bytes(noise(2, 300_000))
    await laptop.back_up()
    assert laptop.results[-1].healed_chunks == len(chunks)
    assert laptop.server.damaged == set()


@ensure
async def test_what_moved_within_a_file_is_sent_again(laptop: Laptop) -> None:
    """It is not made again, being elsewhere; and the generation before has chunks of that name."""
    (laptop.root / "large").write_bytes(noise(1, 4_000_000))
    await laptop.back_up()
    for chunk_id in chunks_of(laptop.server, ChunkKind.DATA):
        laptop.server.break_chunk(chunk_id)
    (laptop.root / "large").write_bytes(b"more" + noise(1, 4_000_000))
    second = await laptop.back_up()
    assert laptop.warnings == []
    assert laptop.results[-1].healed_chunks == 0
    assert (await laptop.below(second))["large"].content == b"more" + noise(1, 4_000_000)
    needed = {c.generations for c in (await laptop.repository.damage(0)).chunks}
    assert second not in {generation for each in needed for generation in each}


@ensure
async def test_a_file_that_cannot_be_read_any_more(laptop: Laptop) -> None:
    """Its stored content is lost, so that there is nothing of it to keep."""
    (laptop.root / "good").write_bytes(noise(1, 300_000))
    (laptop.root / "bad").write_bytes(noise(2, 300_000))
    first = await laptop.back_up()
    (bad,) = [c for c in chunks_of(laptop.server, ChunkKind.DATA) if await uses(laptop, c, "bad")]
    laptop.server.break_chunk(bad)
    (laptop.root / "bad").unlink()
    (laptop.root / "bad").symlink_to("nowhere")
    second = await laptop.back_up()
    assert (await laptop.below(second))["good"].content == noise(1, 300_000)
    page = await laptop.repository.damage(0)
    assert [c.generations for c in page.chunks] == [(first,)]
