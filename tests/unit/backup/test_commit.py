"""The pages of databases: what is sent of them, and when they are written whole again."""

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.backup.pipeline import Pipeline
from obnam.errors import CommitConflict, ServerFull
from obnam.generation import pagemap
from obnam.model.ids import GenerationId
from obnam.wire.limits import UPLOAD_BODY_MAX
from tests.unit.backup.laptop import Laptop

ensure = pytest_twisted.ensureDeferred


async def page_map(laptop: Laptop, generation: GenerationId) -> pagemap.PageMap:
    return (await laptop.generations().get(generation)).manifest.database


def touch(laptop: Laptop, *numbers: int) -> None:
    for number in numbers:
        path = laptop.root / f"{number:04}"
        path.write_bytes(path.read_bytes() + b"x" if path.exists() else b"")


@ensure
async def test_a_few_changes_are_a_few_pages(laptop: Laptop) -> None:
    touch(laptop, *range(2000))
    first = await page_map(laptop, await laptop.back_up())
    touch(laptop, 1000, 1001)
    generation = await laptop.back_up()
    second = await page_map(laptop, generation)
    assert second.chunks[:-1] == first.chunks
    assert second.chunks[-1].pages <= 6 < second.page_count
    await laptop.below(generation)


@ensure
async def test_much_dead_weight_is_written_whole(laptop: Laptop) -> None:
    touch(laptop, *range(1000))
    await laptop.back_up()
    shares = []
    for number in range(0, 2000, 100):
        touch(laptop, *range(number % 1000, number % 1000 + 50))
        generation = await laptop.back_up()
        shares.append((await page_map(laptop, generation)).live_share)
        assert len(await laptop.below(generation)) == 1001
    assert min(shares) >= 0.5
    assert max(shares[5:]) == 1.0 > min(shares)


@ensure
async def test_no_map_is_committed_that_nobody_accepts(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagemap, "RUNS_MAX", 6)
    touch(laptop, *range(2000))
    await laptop.back_up()
    counts = []
    for number in range(0, 2000, 250):
        touch(laptop, number, (number + 1125) % 2000)
        generation = await laptop.back_up()
        counts.append(len((await page_map(laptop, generation)).runs))  # opened, hence accepted
    assert max(counts) <= 6
    assert 1 in counts


@ensure
async def test_bodies_are_no_larger_than_they_may_be(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obnam.backup.commit.UPLOAD_BODY_MAX", 60_000)
    monkeypatch.setattr("obnam.generation.pages.CHUNK_PAGES", 8)
    touch(laptop, *range(1500))
    generation = await laptop.back_up()
    assert len((await page_map(laptop, generation)).chunks) > 3
    assert len(await laptop.below(generation)) == 1501
    assert UPLOAD_BODY_MAX > 2 << 20  # one chunk of 256 pages always fits


@ensure
async def test_two_backups_at_once(laptop: Laptop) -> None:
    """Compare and swap: the later one is refused, and nothing is lost."""
    touch(laptop, 1)
    await laptop.back_up()
    slow = laptop.backup()
    commits: list[GenerationId] = []

    async def meanwhile() -> None:
        result = await laptop.backup().run()
        assert result.generation is not None
        commits.append(result.generation)

    touch(laptop, 2)
    original = laptop.repository.commit

    class Late:
        def __getattr__(self, name: str) -> object:
            return getattr(laptop.repository, name)

        async def _commit(self, *arguments: object) -> object:
            await meanwhile()
            return await original(*arguments)  # type: ignore[arg-type]

        def commit(self, *arguments: object) -> object:
            return self._commit(*arguments)

    slow.repository = Late()  # type: ignore[assignment]
    with pytest.raises(CommitConflict):
        await slow.run()
    assert list(laptop.server.generations)[1:] == commits
    assert len(await laptop.below(await laptop.back_up())) == 3


@ensure
async def test_nothing_is_committed_that_could_not_be_stored(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Pipeline) -> None:
        raise ServerFull("the last chunks")

    touch(laptop, 1)
    monkeypatch.setattr(Pipeline, "all_stored", fail)
    with pytest.raises(ServerFull):
        await laptop.back_up()
    assert not laptop.server.generations
