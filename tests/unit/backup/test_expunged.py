"""A generation needs no other one: those before it can be deleted for good.

Its database lies in pages that earlier backups stored, and so do its files. What it relies on must
be in its own chunk set, or collection would take it away when those are gone.
"""

from collections.abc import Iterator, Sequence
from hashlib import shake_128
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field

from obnam.model.ids import ChunkId, ClientName, GenerationId, RepositoryName
from obnam.repository.cache import GenerationCache
from obnam.repository.generations import Generations
from obnam.wire.limits import MIB
from obnam_server.store.repository import RepositoryStore
from tests.support.client_in_memory import DrivenRepository, client_in_memory
from tests.support.memory_repository import MemoryRepository
from tests.support.memory_scene import KEYS, Scene, memory_scene
from tests.support.server_in_memory import ServerInMemory, server_in_memory

ensure = pytest_twisted.ensureDeferred
HOME = RepositoryName("home")


@define
class Watched:
    """A repository that notes what is fetched from it."""

    _repository: DrivenRepository
    fetched: set[ChunkId] = field(factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)

    def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> Any:
        """See `IChunks`."""
        self.fetched.update(ids)
        return self._repository.fetch(ids, into)


@define
class Real:
    """A client of a real store, by the real requests."""

    scene: Scene
    server: ServerInMemory
    token: str
    freed_bytes: int = 0

    @property
    def store(self) -> RepositoryStore:
        return self.server.store.repository(HOME)

    def as_new(self, name: str) -> Watched:
        """The same client on a computer that has nothing yet but its token and its keys."""
        watched = Watched(client_in_memory(self.server, self.token))
        folder = self.scene.folder / name
        cache = GenerationCache(folder / "cache", 1 << 30, lambda: 0.0)
        self.scene.repository = cast(MemoryRepository, watched)
        self.scene.generations = Generations(
            self.scene.repository, KEYS, cache, folder / "state.json", self.scene.thread
        )
        return watched

    def expunge(self, *generations: GenerationId) -> None:
        """Away with them, and with all chunks that nobody needs any more."""
        store = self.store
        store.change(store.decisions.expunge, generations)
        before = store.used_bytes()
        rewrite = store.collection.rewrite([each.segment for each in store.collection.shares()])
        for _ in rewrite.steps():
            pass
        assert store.change(store.collection.replace, rewrite)
        rewrite.abort()
        self.freed_bytes = before - store.used_bytes()

    def set_of(self, generation: GenerationId, ids: Sequence[ChunkId]) -> set[ChunkId]:
        """Those of ``ids`` that are in the server's chunk set of a generation."""
        numbers = self.store._index.generation_set(generation)
        assert numbers is not None
        stored = self.store._index.stored_numbers(ids)
        return {chunk_id for chunk_id, number in stored.items() if number in numbers}


@pytest.fixture
def real() -> Iterator[Real]:
    with memory_scene() as scene, server_in_memory() as server:
        yield Real(scene, server, server.token("laptop", HOME, ("backup", "restore", "manage")))


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@ensure
async def test_the_third_backup_without_the_first_two(real: Real, tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    for number in range(2000):
        (live / f"{number:04}").write_bytes(b"%d" % number)
    client = real.as_new("first")
    made = []
    for number in range(3):
        (live / f"{number * 500:04}").write_bytes(b"changed %d" % number)
        (live / "other each time").write_bytes(shake_128(b"%d" % number).digest(MIB))
        made.append(await real.scene.back_up(live))
    maps = [(await real.scene.generations.get(each)).manifest.database for each in made]
    chunks = [{chunk.id for chunk in each.chunks} for each in maps]
    for earlier in (chunks[0], chunks[1] - chunks[0]):
        assert chunks[2] & earlier, "the third does not go on from this one, and proves nothing"

    for generation in made[:2]:
        await client.delete_generation(generation)
    real.expunge(*made[:2])
    assert real.freed_bytes > 2 * MIB
    client = real.as_new("second")
    assert [each.generation for each in await client.list_generations()] == made[2:]
    await real.scene.restore(made[2], tmp_path / "target")
    restored = tmp_path / "target" / live.relative_to("/")
    assert content_of(restored) == content_of(live)
    fetched = sorted(client.fetched)
    assert real.set_of(made[2], fetched) == set(fetched) > chunks[2]
    listed = (await client.list_generations())[0]
    assert len(fetched) == listed.summary.chunk_count, "and its set has nothing else"


@ensure
async def test_the_next_backup_after_that(real: Real, tmp_path: Path) -> None:
    """Its base is the newest, which stays; nothing is read or sent that need not be."""
    live = tmp_path / "live"
    live.mkdir()
    for number in range(500):
        (live / f"{number:04}").write_bytes(b"%d" % number)
    client = real.as_new("first")
    made = []
    for number in range(3):
        (live / f"{number:04}").write_bytes(b"changed %d" % number)
        made.append(await real.scene.back_up(live))
    for generation in made[:2]:
        await client.delete_generation(generation)
    real.expunge(*made[:2])
    for name in ("first", "without cache"):
        real.as_new(name)
        (live / "new").write_text(name)
        made.append(await real.scene.back_up(live))
        assert (await real.scene.verify(made[-1])).damaged_files == 0
        target = tmp_path / f"restored {name}"
        await real.scene.restore(made[-1], target)
        assert content_of(target / live.relative_to("/")) == content_of(live)
    latest = real.store.latest(ClientName("laptop"))
    assert latest is not None
    assert latest.summary.receipt.sequence == 5
