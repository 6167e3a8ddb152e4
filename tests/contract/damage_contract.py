"""The contract of `IDamage`, as tests."""

from collections.abc import Callable

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.errors import ChunksMissing
from obnam.model.ids import ChunkId
from obnam.wire.damage import DamagedChunk, DamagePage
from tests.contract.values import (
    Repositories,
    back_up,
    body_of,
    commit_of,
    fetched,
    id_of,
    sealed,
)

Break = Callable[[ChunkId], None]


class DamageContract:
    """Nothing is damaged: what everybody can show."""

    @ensureDeferred
    async def test_nothing_is_damaged(self, repositories: Repositories) -> None:
        await back_up(repositories.own, "one", [sealed("a")])
        assert await repositories.own.damage(0) == DamagePage((), None)
        assert (await repositories.own.describe()).damaged_chunk_count == 0


class BrokenContract:
    """A disk loses something. Needs a fixture ``break_chunk``: of ``own`` and ``colleague``."""

    @ensureDeferred
    async def test_damage_is_named_and_healed(
        self, repositories: Repositories, break_chunk: Break
    ) -> None:
        own, a, b = repositories.own, sealed("a"), sealed("b")
        first = await back_up(own, "first", [a, b])
        second = await back_up(own, "second", [a], first.generation)
        theirs = await back_up(repositories.colleague, "theirs", [b])
        break_chunk(id_of(a))
        expected = DamagedChunk(id_of(a), (second.generation, first.generation), 2)
        for each in (own, repositories.colleague):
            assert await each.damage(0) == DamagePage((expected,), None)
            assert (await each.describe()).damaged_chunk_count == 1
        assert await repositories.stranger.damage(0) == DamagePage((), None)
        assert await fetched(own, id_of(a), id_of(b)) == [b"", b]

        session = await own.begin_session(second.generation)
        assert list(await own.missing(session, [id_of(a), id_of(b)])) == [True, False]
        commit = commit_of("third", second.generation, [a])
        with pytest.raises(ChunksMissing):
            await own.commit(session, commit)
        await own.store(session, body_of(a))
        await own.commit(session, commit)
        assert await own.damage(0) == DamagePage((), None)
        assert (await own.describe()).damaged_chunk_count == 0
        assert await fetched(own, id_of(a)) == [a]
        assert theirs.sequence == 3

    @ensureDeferred
    async def test_what_no_generation_needs_is_not_named(
        self, repositories: Repositories, break_chunk: Break
    ) -> None:
        own, a = repositories.own, sealed("a")
        session = await own.begin_session(None)
        await own.store(session, body_of(a))
        break_chunk(id_of(a))
        assert await own.damage(0) == DamagePage((), None)
        assert list(await own.missing(session, [id_of(a)])) == [True]
