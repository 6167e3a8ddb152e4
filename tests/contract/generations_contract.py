"""The contract of `IGenerations`, as tests."""

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.crypto.signing import is_signed_by
from obnam.errors import (
    ChunksMissing,
    CommitConflict,
    NotFound,
    RequestRefused,
    SessionLost,
)
from obnam.model.chunk import SetSum
from obnam.wire import limits
from obnam.wire.messages import Commit
from obnam.wire.receipts import NO_RECEIPT
from tests.contract.values import (
    Repositories,
    back_up,
    body_of,
    commit_of,
    generation_id,
    id_of,
    sealed,
)


class GenerationsContract:
    """Commits: all or nothing, each on the one before it."""

    @ensureDeferred
    async def test_first_generation(self, repositories: Repositories) -> None:
        own, chunks = repositories.own, [sealed("a"), sealed("b")]
        assert (await own.describe()).latest is None
        receipt = await back_up(own, "first", chunks)
        assert receipt.generation == generation_id("first")
        assert receipt.sequence == 1
        description = await own.describe()
        assert description.latest == await own.get_generation(receipt.generation)
        assert description.latest.manifest == b"manifest of first"
        assert description.latest.manifest_id == id_of(b"manifest of first")
        assert description.latest.summary.chunk_count == 2
        assert description.generation_count == 1
        assert description.used_bytes > 0

    @ensureDeferred
    async def test_next_generation_from_its_base(self, repositories: Repositories) -> None:
        own, a, b, c = repositories.own, sealed("a"), sealed("b"), sealed("c")
        first = await back_up(own, "first", [a, b])
        session = await own.begin_session(first.generation)
        assert list(await own.missing(session, [id_of(a), id_of(c)])) == [False, True]
        await own.store(session, body_of(c))
        await own.refer(session, [id_of(c)], [id_of(a)])
        commit = commit_of("second", first.generation, [b, c], partial=True)
        second = await own.commit(session, commit)
        assert second.sequence == 2
        assert second.received_ns >= first.received_ns
        summaries = [each.summary for each in await own.list_generations()]
        assert [s.receipt for s in summaries] == [first, second]
        assert [s.previous for s in summaries] == [None, first.generation]
        assert [s.partial for s in summaries] == [False, True]
        assert [s.chunk_count for s in summaries] == [2, 2]

    @ensureDeferred
    async def test_receipts_are_signed_and_chained(self, repositories: Repositories) -> None:
        own, colleague = repositories.own, repositories.colleague
        first = await back_up(own, "first", [sealed("a")])
        other = await back_up(colleague, "other", [sealed("b")])
        second = await back_up(own, "second", [sealed("c")], first.generation)
        description = await own.describe()
        key, repository_id = description.server_key, description.repository_id
        assert key is not None
        assert repository_id is not None
        summaries = [each.summary for each in await own.list_generations()]
        assert [s.receipt for s in summaries] == [first, other, second]
        assert description.newest == summaries[-1]
        assert description.latest is not None
        assert description.latest.summary == summaries[-1]
        previous = NO_RECEIPT
        for number, summary in enumerate(summaries, 1):
            statement = summary.receipt.statement(repository_id, summary.client)
            signed = summary.receipt.countersigned
            assert statement is not None
            assert signed is not None
            assert is_signed_by(key, statement.encode(), signed.signature)
            assert (statement.sequence, statement.previous) == (number, previous)
            committed = await own.get_generation(summary.receipt.generation)
            assert committed.manifest_id == statement.manifest_id
            assert committed.summary == summary
            previous = statement.hash()
        stranger = await repositories.stranger.describe()
        assert stranger.newest is None

    @ensureDeferred
    async def test_repeating_references_is_harmless(self, repositories: Repositories) -> None:
        own, a, b = repositories.own, sealed("a"), sealed("b")
        session = await own.begin_session(None)
        await own.refer(session, [id_of(a), id_of(b), id_of(a)], [])
        await own.refer(session, [id_of(a)], [id_of(b)])
        await own.refer(session, [id_of(a)], [id_of(b), id_of(b"never there")])
        await own.store(session, body_of(a))
        receipt = await own.commit(session, commit_of("one", None, [a]))
        assert (await own.get_generation(receipt.generation)).summary.chunk_count == 1

    @ensureDeferred
    async def test_an_empty_generation(self, repositories: Repositories) -> None:
        own = repositories.own
        session = await own.begin_session(None)
        receipt = await own.commit(session, commit_of("empty", None, []))
        assert (await own.get_generation(receipt.generation)).summary.chunk_count == 0

    @ensureDeferred
    async def test_repeating_a_commit_gives_its_receipt(self, repositories: Repositories) -> None:
        own, a = repositories.own, sealed("a")
        session = await own.begin_session(None)
        await own.store(session, body_of(a))
        await own.refer(session, [id_of(a)], [])
        commit = commit_of("one", None, [a])
        receipt = await own.commit(session, commit)
        assert await own.commit(session, commit) == receipt
        assert len(await own.list_generations()) == 1

    @ensureDeferred
    async def test_the_session_ends_with_the_commit(self, repositories: Repositories) -> None:
        own = repositories.own
        session = await own.begin_session(None)
        await own.commit(session, commit_of("one", None, []))
        with pytest.raises(SessionLost):
            await own.refer(session, [id_of(b"x")], [])

    @ensureDeferred
    async def test_missing_chunks_are_named(self, repositories: Repositories) -> None:
        own, here, away = repositories.own, sealed("here"), sealed("away")
        session = await own.begin_session(None)
        await own.store(session, body_of(here))
        await own.refer(session, [id_of(here), id_of(away)], [])
        with pytest.raises(ChunksMissing) as caught:
            await own.commit(session, commit_of("one", None, [here, away]))
        assert caught.value.count == 1
        assert caught.value.first == (id_of(away),)
        assert await own.list_generations() == []
        # The session is still good: what was missing can be sent, and committed.
        await own.store(session, body_of(away))
        assert (await own.commit(session, commit_of("one", None, [here, away]))).sequence == 1

    @ensureDeferred
    async def test_many_missing_chunks(self, repositories: Repositories) -> None:
        own = repositories.own
        chunks = [sealed(str(i)) for i in range(limits.COMMIT_REFUSED_IDS_MAX + 50)]
        session = await own.begin_session(None)
        await own.refer(session, [id_of(c) for c in chunks], [])
        with pytest.raises(ChunksMissing) as caught:
            await own.commit(session, commit_of("one", None, chunks))
        assert caught.value.count == len(chunks)
        assert len(caught.value.first) == limits.COMMIT_REFUSED_IDS_MAX
        assert set(caught.value.first) <= {id_of(c) for c in chunks}

    @ensureDeferred
    async def test_commit_on_an_old_base(self, repositories: Repositories) -> None:
        own = repositories.own
        first = await back_up(own, "first", [sealed("a")])
        second = await back_up(own, "second", [sealed("b")], first.generation)
        session = await own.begin_session(first.generation)
        with pytest.raises(CommitConflict) as caught:
            await own.commit(session, commit_of("third", first.generation, [sealed("a")]))
        assert caught.value.expected == first.generation
        assert caught.value.latest == second.generation
        with pytest.raises(CommitConflict):
            await own.commit(session, commit_of("third", None, [sealed("a")]))

    @ensureDeferred
    async def test_count_or_xor_differ(self, repositories: Repositories) -> None:
        own, a, b = repositories.own, sealed("a"), sealed("b")
        session = await own.begin_session(None)
        await own.store(session, body_of(a, b))
        await own.refer(session, [id_of(a)], [])
        for chunks in ([], [b], [a, b]):
            with pytest.raises(RequestRefused):
                await own.commit(session, commit_of("one", None, chunks))
        assert await own.list_generations() == []

    @ensureDeferred
    async def test_a_large_manifest(self, repositories: Repositories) -> None:
        own, manifest = repositories.own, bytes(range(256)) * (limits.MANIFEST_MAX // 256)
        commit = Commit(generation_id("big"), None, SetSum(), id_of(manifest), manifest)
        await own.commit(await own.begin_session(None), commit)
        assert (await own.get_generation(commit.generation)).manifest == manifest

    @ensureDeferred
    async def test_unknown_generation(self, repositories: Repositories) -> None:
        with pytest.raises(NotFound):
            await repositories.own.get_generation(generation_id("never"))
