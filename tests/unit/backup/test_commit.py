"""The pages of databases: what is sent of them, and when they are written whole again."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field

from obnam.backup.base import Base
from obnam.backup.commit import Committer, Facts
from obnam.backup.pipeline import Pipeline
from obnam.crypto.envelope import Compression
from obnam.crypto.seal import Sealer, best_suite
from obnam.errors import CommitConflict, ServerFull
from obnam.generation import pagemap
from obnam.generation.nascent import NascentGeneration
from obnam.generation.schema import PAGE_BYTES
from obnam.model.ids import ChunkId, ClientName, GenerationId, SessionId
from obnam.wire.limits import UPLOAD_BODY_MAX
from tests.unit.backup.laptop import KEYS, Laptop

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
    monkeypatch.setattr("obnam.backup.commit.UPLOAD_BODY_MAX", 5_000)
    monkeypatch.setattr("obnam.generation.pages.CHUNK_PAGES", 8)
    touch(laptop, *range(1500))
    generation = await laptop.back_up()
    assert len((await page_map(laptop, generation)).chunks) > 3
    assert max(laptop.repository.body_sizes) <= 5_000 < sum(laptop.repository.body_sizes)
    assert len(await laptop.below(generation)) == 1501
    assert UPLOAD_BODY_MAX > 2 << 20  # one chunk of 256 pages always fits


def page(letter: bytes) -> bytes:
    return letter * PAGE_BYTES


@define
class Bench:
    """What commits by hand, and three databases: the base's, the original, and a copy of it."""

    laptop: Laptop
    folder: Path
    session: SessionId
    nascent: NascentGeneration
    lost: set[ChunkId] = field(factory=set)

    def committer(self) -> Committer:
        async def all_stored() -> None:
            """There is nothing else."""

        return Committer(
            self.laptop.repository,
            self.laptop.thread,
            KEYS,
            Sealer(KEYS, best_suite(), Compression(1)),
            lambda: 0,
            all_stored,
            self.lost,
        )

    async def store(self, path: Path, base: Base | None) -> pagemap.PageMap:
        return await self.committer()._store_pages(self.session, path, base)


@pytest_twisted.async_yield_fixture
async def bench(laptop: Laptop, tmp_path: Path) -> AsyncIterator[Bench]:
    session = await laptop.repository.begin_session(None)
    call = laptop.thread.call
    nascent = await call(NascentGeneration.create, tmp_path / "original", 1)
    yield Bench(laptop, tmp_path, session, nascent)
    await call(nascent.close)


@ensure
async def test_lost_pages_that_the_new_database_has_are_stored_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only those, even if it were shorter by now."""
    monkeypatch.setattr("obnam.generation.pages.CHUNK_PAGES", 1)
    monkeypatch.setattr("obnam.generation.pagemap.CHUNK_PAGES", 1)
    before, after = bench.folder / "before", bench.folder / "after"
    before.write_bytes(page(b"a") + page(b"b") + page(b"c") + page(b"d"))
    after.write_bytes(page(b"a") + page(b"b") + page(b"C"))
    old = await bench.store(before, None)
    _, lost, changed, beyond = (chunk.id for chunk in old.chunks)
    bench.lost = {lost, changed, beyond}
    bench.laptop.repository.stored.clear()
    opened: Any = Mock(**{"manifest.database": old})
    new = await bench.store(after, Base(opened, before))
    stored = bench.laptop.repository.stored
    assert (stored[0], len(stored)) == (lost, 2)
    assert [new.chunks[run.chunk].id for run in new.runs] == [old.chunks[0].id, *stored]


@ensure
async def test_a_copy_is_committed_and_not_what_comes_after_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original goes on being written, the sooner the better."""
    monkeypatch.setattr("obnam.backup.commit.UPLOAD_BODY_MAX", 0)  # each chunk by itself
    monkeypatch.setattr("obnam.generation.pages.CHUNK_PAGES", 1)
    copy = bench.folder / "copy"

    def write() -> None:
        if copy.exists():
            with bench.nascent.path.open("r+b") as original:
                original.seek(-PAGE_BYTES, os.SEEK_END)
                original.write(page(b"x"))

    bench.laptop.repository.before_store = write
    facts = Facts(ClientName("laptop"), (b"/live",), 0, partial=True)
    await bench.committer().commit(bench.session, bench.nascent, None, None, facts, copy)
    (generation,) = bench.laptop.server.generations
    assert await bench.laptop.read(generation) == {}


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
