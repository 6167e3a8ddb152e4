"""Forgetting, undeleting, pinning: what is done, what is refused, and what goes on after it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail

from obnam.browse import deciding
from obnam.browse.catalogue import Catalogue, fetch
from obnam.browse.deciding import Decided
from obnam.errors import (
    AccessDenied,
    GenerationKept,
    ManifestLost,
    ServerUnreachable,
    UnknownReference,
)
from obnam.history_errors import HistoryBroken
from obnam.model.ids import ClientName, GenerationId
from obnam.repository.cache import GenerationCache
from obnam.repository.generations import Generations
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import GenerationSummary, Receipt
from tests.support.memory_repository import MemoryRepository
from tests.support.memory_scene import KEYS, NOW_NS, Scene, memory_scene
from tests.support.null_progress import NullProgress

ensure = pytest_twisted.ensureDeferred


@define
class Backups:
    """A client with five backups, each with one more file."""

    scene: Scene
    live: Path
    made: list[GenerationId] = field(factory=list)
    progress: NullProgress = field(factory=NullProgress)

    async def back_up(self) -> None:
        (self.live / f"{len(self.made)}").write_text(f"content {len(self.made)}")
        self.made.append(await self.scene.back_up(self.live))

    async def catalogue(self) -> Catalogue:
        return await fetch(self.scene.repository, self.scene.generations)

    async def forget(self, *references: str, **options: Any) -> Decided:
        catalogue, repository = await self.catalogue(), self.scene.repository
        return await deciding.forget(repository, catalogue, references, self.progress, **options)

    async def undelete(self, *ids: str) -> Decided:
        return await deciding.undelete(self.scene.repository, await self.catalogue(), ids)

    async def listed(self) -> list[int]:
        """The numbers of the backups that are listed."""
        found = (await self.catalogue()).listed
        return [self.made.index(each.generation) for each in found]

    async def check(self, number: int, folder: Path) -> None:
        """Verify and restore a backup."""
        verified = await self.scene.verify(self.made[number])
        assert (verified.missing_chunks, verified.damaged_files) == (0, 0)
        await self.scene.restore(self.made[number], folder)
        restored = folder / self.live.relative_to("/")
        found = {path.name: path.read_text() for path in restored.iterdir()}
        assert found == {f"{n}": f"content {n}" for n in range(number + 1)}


@pytest.fixture
def backups(tmp_path: Path) -> Iterator[Backups]:
    (tmp_path / "live").mkdir()
    with memory_scene() as scene:
        yield Backups(scene, tmp_path / "live")


async def with_five(backups: Backups) -> Backups:
    for _ in range(5):
        await backups.back_up()
    return backups


@ensure
async def test_everything_goes_on_after_a_forget(backups: Backups, tmp_path: Path) -> None:
    await with_five(backups)
    decided = await backups.forget("latest~1", backups.made[1])
    assert [each.generation for each in decided.done] == [backups.made[3], backups.made[1]]
    assert all(each.trashed_ns is not None for each in decided.done)
    assert await backups.listed() == [0, 2, 4]
    catalogue = await backups.catalogue()
    assert catalogue.warnings == []
    assert [catalogue.resolve(f"latest~{n}") for n in range(3)] == [
        backups.made[n] for n in (4, 2, 0)
    ]
    for number in (0, 2, 4):
        await backups.check(number, tmp_path / f"with trash {number}")
    await backups.back_up()
    assert await backups.listed() == [0, 2, 4, 5]
    for number in (1, 3):
        backups.scene.server.expunge(backups.made[number])
    for number in (0, 2, 4, 5):
        await backups.check(number, tmp_path / f"without {number}")
    await backups.back_up()
    assert (await backups.catalogue()).warnings == []


@ensure
async def test_all_of_them_or_none(backups: Backups) -> None:
    await with_five(backups)
    await deciding.pin(
        backups.scene.repository, await backups.catalogue(), "latest~2", "the good one"
    )
    for references, said in (
        (("latest~3", "latest"), "it is the newest of its client"),
        (("latest~3", "latest~2"), r"it is pinned \(the good one\); unpin it first"),
    ):
        with pytest.raises(GenerationKept, match=said):
            await backups.forget(*references)
        with pytest.raises(GenerationKept, match=said):
            await backups.forget(*references, dry_run=True)
    with pytest.raises(UnknownReference):
        await backups.forget("latest~3", "latest~9")
    assert backups.scene.server.trash == {}
    unpinned = await deciding.unpin(
        backups.scene.repository, await backups.catalogue(), backups.made[2][:10]
    )
    assert unpinned.pinned is None
    await backups.forget("latest~2")


@ensure
async def test_a_dry_run_says_the_same_and_does_nothing(backups: Backups) -> None:
    await with_five(backups)
    dry = await backups.forget("latest~2", "latest~2", "latest~3", dry_run=True)
    assert backups.scene.server.trash == {}
    done = await backups.forget("latest~2", "latest~3")
    assert [each.generation for each in dry.done] == [each.generation for each in done.done]


@ensure
async def test_the_same_command_again(backups: Backups) -> None:
    """By ids it goes on where it was, and takes no other generation."""
    await with_five(backups)
    ids = backups.made[:3]
    await backups.forget(ids[0])
    decided = await backups.forget(*ids)
    assert [each.generation for each in decided.done] == ids[1:]
    assert [each.generation for each in decided.already] == ids[:1]
    assert [e.generation for e in (await backups.forget(*ids)).already] == ids
    assert await backups.listed() == [3, 4]


@ensure
async def test_an_id_in_the_trash_is_not_taken_for_another(backups: Backups) -> None:
    await with_five(backups)
    (gone,) = (await backups.forget("latest~4")).done
    other = evolve(gone.summary, receipt=Receipt(GenerationId(gone.generation[:31] + "x"), 9, 9))
    catalogue = await backups.catalogue()
    catalogue = evolve(catalogue, listed=[*catalogue.listed, ListedGeneration(other)])
    with pytest.raises(UnknownReference, match="2 generations begin so"):
        await deciding.forget(
            backups.scene.repository, catalogue, [gone.generation[:31]], backups.progress
        )


@define
class Failing(MemoryRepository):
    """A server that goes away at the second deletion."""

    deletions: int = 0

    def delete_generation(self, generation: GenerationId) -> "Deferred[None]":
        """See `IDecisions`."""
        self.deletions += 1
        if self.deletions == 2:
            return fail(ServerUnreachable("memory", "gone"))
        return super().delete_generation(generation)


@ensure
async def test_what_is_in_the_trash_when_the_server_goes_away(backups: Backups) -> None:
    await with_five(backups)
    backups.scene.repository = Failing(backups.scene.server, ClientName("laptop"))
    with pytest.raises(ServerUnreachable):
        await backups.forget("latest~1", "latest~2", "latest~3")
    assert backups.progress.warnings == [f"generation {backups.made[3]} is in the trash"]
    assert list(backups.scene.server.trash) == [backups.made[3]]


@ensure
async def test_undeleting(backups: Backups) -> None:
    await with_five(backups)
    before = (await backups.catalogue()).listed
    await backups.forget("latest~1", "latest~2")
    for reference in ("latest", "@2026-11-01", "nonsense", "0" * 32):
        with pytest.raises(UnknownReference):
            await backups.undelete(backups.made[3], reference)
    assert await backups.listed() == [0, 1, 4]
    decided = await backups.undelete(backups.made[3][:12], backups.made[0])
    assert [each.generation for each in decided.done] == [backups.made[3]]
    assert [each.generation for each in decided.already] == [backups.made[0]]
    assert decided.done[0].trashed_ns is None
    await backups.undelete(backups.made[2])
    assert (await backups.catalogue()).listed == before


@ensure
async def test_a_token_that_may_not(backups: Backups) -> None:
    await with_five(backups)
    catalogue, repository = await backups.catalogue(), backups.scene.repository
    lesser = evolve(
        catalogue, description=evolve(catalogue.description, scopes=("backup", "restore"))
    )
    asks = (
        deciding.forget(repository, lesser, ["latest~1"], backups.progress),
        deciding.forget(repository, lesser, ["latest~1"], backups.progress, dry_run=True),
        deciding.undelete(repository, lesser, [backups.made[0]]),
        deciding.pin(repository, lesser, "latest", "mine"),
        deciding.unpin(repository, lesser, "latest"),
    )
    for ask in asks:
        with pytest.raises(AccessDenied, match="Ask the administrator") as caught:
            await ask
        assert "\n" not in str(caught.value)
    assert backups.scene.server.trash == {}
    assert backups.scene.server.pins == {}


@ensure
async def test_when_the_newest_manifest_is_lost(backups: Backups) -> None:
    """What is the latest is not known then; ids are as good as ever, and the newest is kept."""
    await with_five(backups)
    server = backups.scene.server
    newest = server.generations[backups.made[4]]
    server.generations[backups.made[4]] = evolve(
        newest, committed=evolve(newest.committed, manifest=b"")
    )
    with pytest.raises(ManifestLost):
        await backups.forget(backups.made[0], "latest~1")
    with pytest.raises(GenerationKept):
        await backups.forget(backups.made[0], backups.made[4])
    assert server.trash == {}
    await backups.forget(backups.made[0])
    assert list(server.trash) == [backups.made[0]]


# The history


@ensure
async def test_a_computer_that_remembers_an_older_one(backups: Backups, tmp_path: Path) -> None:
    """It was away. What it remembers, or what came before that, was forgotten meanwhile."""
    for number in range(5):
        await backups.back_up()
        if number == 2:
            (tmp_path / "old.json").write_bytes((backups.scene.folder / "state.json").read_bytes())
    await backups.forget(*backups.made[:4])
    cache = GenerationCache(tmp_path / "other", 1 << 30, lambda: NOW_NS / 1e9)
    generations = Generations(
        backups.scene.repository, KEYS, cache, tmp_path / "old.json", backups.scene.thread
    )
    before = (tmp_path / "old.json").read_bytes()
    assert (await fetch(backups.scene.repository, generations)).warnings == []
    for number, warned in ((0, 0), (1, 0), (2, 0), (3, 1)):
        backups.scene.server.expunge(backups.made[number])
        (tmp_path / "old.json").write_bytes(before)
        warnings = (await fetch(backups.scene.repository, generations)).warnings
        assert len(warnings) == warned
        # Once it was said, it is known.
        assert (await fetch(backups.scene.repository, generations)).warnings == []


@ensure
async def test_the_newest_is_missed_all_the_same(backups: Backups) -> None:
    """A server that hides it cannot say that somebody forgot it."""
    await with_five(backups)
    await backups.forget("latest~1")
    server = backups.scene.server
    hidden = server.generations.pop(backups.made[4])
    with pytest.raises(HistoryBroken):
        await backups.catalogue()
    server.generations[backups.made[4]] = hidden
    assert await backups.listed() == [0, 1, 2, 4]


# What is kept, as far as a list tells


def listed(number: int, client: str, *, partial: bool = False) -> ListedGeneration:
    receipt = Receipt(GenerationId(f"{number:032x}"), number, number)
    return ListedGeneration(GenerationSummary(receipt, ClientName(client), None, partial, 0))


def test_of_each_client_the_newest_and_the_newest_complete() -> None:
    everything = [
        listed(1, "laptop"),
        listed(2, "desktop"),
        listed(3, "laptop"),
        listed(4, "laptop", partial=True),
        listed(5, "laptop", partial=True),
        listed(6, "fresh", partial=True),
        listed(7, "desktop", partial=True),
        listed(8, "desktop"),
    ]
    kept = [
        each.summary.receipt.sequence
        for each in everything
        if deciding.why_kept(each, everything) is not None
    ]
    assert kept == [3, 5, 6, 8]
