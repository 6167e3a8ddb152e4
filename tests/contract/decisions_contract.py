"""The contract of `IDecisions`, as tests."""

from collections.abc import Callable, Sequence

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred

from obnam.errors import GenerationKept, NotFound
from obnam.model.ids import GenerationId
from obnam.wire import limits
from obnam.wire.interfaces import IRepository
from tests.contract.values import (
    Repositories,
    back_up,
    commit_of,
    fetched,
    generation_id,
    id_of,
    sealed,
)

DECISIONS: Sequence[Callable[[IRepository, GenerationId], "Deferred[None]"]] = (
    lambda repository, generation: repository.delete_generation(generation),
    lambda repository, generation: repository.undelete_generation(generation),
    lambda repository, generation: repository.pin_generation(generation, "reason"),
    lambda repository, generation: repository.unpin_generation(generation),
)


async def three(repository: IRepository) -> list[GenerationId]:
    """Three backups, one after another."""
    made: list[GenerationId] = []
    for name in ("one", "two", "three"):
        previous = made[-1] if made else None
        made.append((await back_up(repository, name, [sealed(name)], previous)).generation)
    return made


async def listed(repository: IRepository) -> list[GenerationId]:
    return [each.generation for each in await repository.list_generations()]


async def trashed(repository: IRepository) -> list[GenerationId]:
    return [each.generation for each in await repository.list_trash()]


class DecisionsContract:
    """Trash and pins."""

    @ensureDeferred
    async def test_into_the_trash_and_out_of_it(self, repositories: Repositories) -> None:
        own = repositories.own
        one, two, last = await three(own)
        before = await own.list_generations()
        for _ in range(2):  # The answer may have been lost.
            await own.delete_generation(two)
        assert await listed(own) == [one, last]
        (there,) = await own.list_trash()
        assert there.summary == before[1].summary
        assert there.trashed_ns is not None
        assert there.trashed_ns >= before[2].summary.receipt.received_ns
        assert (await own.describe()).generation_count == 2
        for _ in range(2):
            await own.undelete_generation(two)
        assert await own.list_generations() == before
        assert await own.list_trash() == []

    @ensureDeferred
    async def test_the_trash_is_the_repositorys(self, repositories: Repositories) -> None:
        one, two, last = await three(repositories.own)
        await back_up(repositories.colleague, "theirs", [sealed("theirs")])
        await repositories.colleague.delete_generation(two)
        await repositories.own.delete_generation(one)
        assert await trashed(repositories.colleague) == [one, two]
        assert await trashed(repositories.own) == [one, two]
        assert await trashed(repositories.stranger) == []
        assert await listed(repositories.colleague) == [last, generation_id("theirs")]

    @ensureDeferred
    async def test_what_is_in_the_trash_can_be_read(self, repositories: Repositories) -> None:
        """A restore that is under way ends well."""
        own = repositories.own
        one, _, _ = await three(own)
        before = await own.get_generation(one)
        await own.delete_generation(one)
        assert await own.get_generation(one) == before
        assert await fetched(own, id_of(sealed("one"))) == [sealed("one")]

    @ensureDeferred
    async def test_the_next_backup_after_a_deletion(self, repositories: Repositories) -> None:
        own = repositories.own
        one, two, last = await three(own)
        await own.delete_generation(one)
        await own.delete_generation(two)
        session = await own.begin_session(last)
        receipt = await own.commit(session, commit_of("four", last, [sealed("three")]))
        assert receipt.sequence == 4
        assert await listed(own) == [last, receipt.generation]
        await own.undelete_generation(two)
        assert await listed(own) == [two, last, receipt.generation]

    @ensureDeferred
    async def test_the_newest_of_each_client_is_kept(self, repositories: Repositories) -> None:
        own, colleague = repositories.own, repositories.colleague
        one, two, last = await three(own)
        theirs = (await back_up(colleague, "theirs", [sealed("theirs")])).generation
        session = await own.begin_session(None)
        partial = commit_of("partial", last, [], partial=True)
        await own.commit(session, partial)
        for generation in (last, theirs, partial.generation):
            with pytest.raises(GenerationKept, match="newest"):
                await own.delete_generation(generation)
        assert await listed(own) == [one, two, last, theirs, partial.generation]

    @ensureDeferred
    async def test_what_is_pinned_is_kept(self, repositories: Repositories) -> None:
        own, reason = repositories.own, "the good one: ü"
        one, two, last = await three(own)
        await own.pin_generation(one, "for now")
        for _ in range(2):
            await own.pin_generation(one, reason)
        longest = "\N{GRINNING FACE}" * limits.PIN_REASON_MAX
        await own.pin_generation(last, longest)
        pins = [each.pinned for each in await repositories.colleague.list_generations()]
        assert pins == [reason, None, longest]
        with pytest.raises(GenerationKept) as caught:
            await own.delete_generation(one)
        assert reason in str(caught.value)
        assert one in str(caught.value)
        assert not caught.value.temporary
        for _ in range(2):
            await own.unpin_generation(one)
        await own.delete_generation(one)
        with pytest.raises(GenerationKept, match="trash"):
            await own.pin_generation(one, "too late")
        assert await listed(own) == [two, last]

    @ensureDeferred
    async def test_unknown_and_not_ours(self, repositories: Repositories) -> None:
        one, two, last = await three(repositories.own)
        for repository, generation in (
            (repositories.own, generation_id("never")),
            (repositories.stranger, one),
        ):
            for decide in DECISIONS:
                with pytest.raises(NotFound):
                    await decide(repository, generation)
        assert await listed(repositories.own) == [one, two, last]
