"""The contract of `IRepository`, as tests that every implementation of it must pass.

A test module makes a subclass with a fixture ``repositories``. Chunks are unsealed nonsense here:
no implementation looks into them.
"""

from hashlib import sha256

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from obnam.errors import (
    ChunksMissing,
    CommitConflict,
    NotFound,
    ObnamError,
    RequestRefused,
    ServerMisbehaved,
    SessionLost,
)
from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    GenerationId,
    SessionId,
    parse_chunk_id,
    parse_generation_id,
)
from obnam.wire import limits
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import Commit, KeyringSlot, Receipt

ROOM = memoryview(bytearray(1 << 20))
UNKNOWN_SESSION = SessionId("f" * 32)


@frozen
class Repositories:
    """Three clients: two of one repository, and one of another on the same server."""

    own: IRepository
    colleague: IRepository
    stranger: IRepository


def sealed(text: str) -> bytes:
    """Some bytes."""
    return b"sealed " + text.encode()


def id_of(data: bytes) -> ChunkId:
    """A chunk id that belongs to ``data``."""
    return parse_chunk_id(b"\x01" + sha256(data).digest())


def generation_id(text: str) -> GenerationId:
    """A generation id that belongs to ``text``."""
    return parse_generation_id(sha256(text.encode()).hexdigest()[:32])


def body_of(*chunks: bytes) -> memoryview:
    """Frames."""
    return memoryview(b"".join(pack_header(id_of(c), len(c)) + c for c in chunks))


def commit_of(
    name: str, previous: GenerationId | None, chunks: list[bytes], partial: bool = False
) -> Commit:
    """The commit of a generation of ``chunks``."""
    manifest = f"manifest of {name}".encode()
    return Commit(
        generation=generation_id(name),
        previous=previous,
        chunks=SetSum().add({id_of(c) for c in chunks}),
        manifest_id=id_of(manifest),
        manifest=manifest,
        partial=partial,
    )


async def fetched(repository: IRepository, *ids: ChunkId) -> list[bytes]:
    """The sealed chunks with ``ids``; absent ones are empty."""
    frames = await repository.fetch(ids, ROOM)
    assert [frame.chunk_id for frame in frames] == list(ids)
    return [bytes(ROOM[frame.offset : frame.offset + frame.length]) for frame in frames]


async def back_up(
    repository: IRepository,
    name: str,
    chunks: list[bytes],
    previous: GenerationId | None = None,
) -> Receipt:
    """A whole backup of ``chunks``, based on nothing."""
    session = await repository.begin_session(None)
    await repository.store(session, body_of(*chunks))
    await repository.refer(session, [id_of(c) for c in chunks], [])
    return await repository.commit(session, commit_of(name, previous, chunks))


class RepositoryContract:
    """The tests. ``repositories``: a fixture with empty repositories."""

    def test_interface(self, repositories: Repositories) -> None:
        assert verifyObject(IRepository, repositories.own)

    # Chunks

    @ensureDeferred
    async def test_stored_chunks_come_back(self, repositories: Repositories) -> None:
        own = repositories.own
        one, two = sealed("one"), sealed("two" * 50_000)
        session = await own.begin_session(None)
        assert list(await own.missing(session, [id_of(one), id_of(two)])) == [True, True]
        await own.store(session, body_of(one, two))
        assert list(await own.missing(session, [id_of(two), id_of(one)])) == [False, False]
        assert await fetched(own, id_of(two), id_of(one)) == [two, one]

    @ensureDeferred
    async def test_frames_lie_where_fetch_says(self, repositories: Repositories) -> None:
        own, chunks = repositories.own, [sealed("a"), sealed("bb")]
        session = await own.begin_session(None)
        await own.store(session, body_of(*chunks))
        size = sum(map(len, chunks)) + len(chunks) * FRAME_HEADER_BYTES
        into = memoryview(bytearray(size))
        frames = await own.fetch([id_of(c) for c in chunks], into)
        assert [f.offset for f in frames] == [
            FRAME_HEADER_BYTES,
            2 * FRAME_HEADER_BYTES + len(chunks[0]),
        ]

    @ensureDeferred
    async def test_missing_answers_each_id_by_itself(self, repositories: Repositories) -> None:
        own = repositories.own
        chunks = [sealed(str(i)) for i in range(21)]
        session = await own.begin_session(None)
        await own.store(session, body_of(*chunks[::3]))
        answer = await own.missing(session, [id_of(c) for c in chunks])
        assert list(answer) == [i % 3 != 0 for i in range(21)]

    @ensureDeferred
    async def test_nothing_is_asked_and_nothing_answered(self, repositories: Repositories) -> None:
        session = await repositories.own.begin_session(None)
        assert list(await repositories.own.missing(session, [])) == []
        assert list(await repositories.own.fetch([], ROOM)) == []
        await repositories.own.refer(session, [], [])

    @ensureDeferred
    async def test_absent_chunks_have_length_0(self, repositories: Repositories) -> None:
        own, here, away = repositories.own, sealed("here"), sealed("away")
        session = await own.begin_session(None)
        await own.store(session, body_of(here))
        assert await fetched(own, id_of(away), id_of(here), id_of(away)) == [b"", here, b""]

    @ensureDeferred
    async def test_fetch_without_room(self, repositories: Repositories) -> None:
        own, chunk = repositories.own, sealed("x" * 1000)
        session = await own.begin_session(None)
        await own.store(session, body_of(chunk))
        for room in (0, FRAME_HEADER_BYTES - 1, FRAME_HEADER_BYTES + len(chunk) - 1):
            with pytest.raises(ServerMisbehaved):
                await own.fetch([id_of(chunk)], memoryview(bytearray(room)))

    @ensureDeferred
    async def test_storing_again_is_harmless(self, repositories: Repositories) -> None:
        own, chunk = repositories.own, sealed("again")
        session = await own.begin_session(None)
        await own.store(session, body_of(chunk))
        await own.store(session, body_of(chunk, sealed("and more")))
        assert await fetched(own, id_of(chunk)) == [chunk]

    @ensureDeferred
    async def test_a_stored_chunk_cannot_be_replaced(self, repositories: Repositories) -> None:
        own, chunk, other = repositories.own, sealed("first"), b"something else"
        session = await own.begin_session(None)
        await own.store(session, body_of(chunk))
        swapped = pack_header(id_of(chunk), len(other)) + other
        await repositories.colleague.store(
            await repositories.colleague.begin_session(None), memoryview(swapped)
        )
        assert await fetched(own, id_of(chunk)) == [chunk]

    @ensureDeferred
    async def test_many_bodies_at_once(self, repositories: Repositories) -> None:
        own = repositories.own
        session = await own.begin_session(None)
        chunks = [sealed(f"{i}" * 3000) for i in range(24)]
        await gatherResults(
            [own.store(session, body_of(*chunks[i : i + 4])) for i in range(0, 24, 4)]
        )
        assert await fetched(own, *[id_of(c) for c in chunks]) == chunks

    @ensureDeferred
    async def test_a_large_body(self, repositories: Repositories) -> None:
        own = repositories.own
        chunks = [bytes([i]) * (limits.MIB - FRAME_HEADER_BYTES) for i in range(16)]
        body = body_of(*chunks)
        assert len(body) == limits.UPLOAD_BODY_MAX
        session = await own.begin_session(None)
        await own.store(session, body)
        into = memoryview(bytearray(limits.UPLOAD_BODY_MAX))
        await own.fetch([id_of(c) for c in chunks], into)
        assert into == body

    @ensureDeferred
    async def test_bodies_that_are_no_frames(self, repositories: Repositories) -> None:
        own, good = repositories.own, sealed("good")
        session = await own.begin_session(None)
        bodies = [
            bytes(body_of(good))[:-1],
            bytes(body_of(good)) + b"\x01",
            b"\x02" + bytes(body_of(good))[1:],
            pack_header(id_of(good), limits.SEALED_CHUNK_MAX + 1) + good,
            pack_header(id_of(good), 0),
        ]
        for body in bodies:
            with pytest.raises(RequestRefused):
                await own.store(session, memoryview(body))
        assert list(await own.missing(session, [id_of(good)])) == [True]

    @ensureDeferred
    async def test_more_than_the_limits(self, repositories: Repositories) -> None:
        own = repositories.own
        session = await own.begin_session(None)
        chunk_id = id_of(b"x")
        with pytest.raises(RequestRefused):
            await own.missing(session, [chunk_id] * (limits.MISSING_IDS_MAX + 1))
        with pytest.raises(RequestRefused):
            await own.fetch([chunk_id] * (limits.FETCH_IDS_MAX + 1), ROOM)
        with pytest.raises(RequestRefused):
            await own.refer(session, [chunk_id] * limits.REFERENCE_IDS_MAX, [chunk_id])
        with pytest.raises(RequestRefused):
            await own.store(session, memoryview(bytearray(limits.UPLOAD_BODY_MAX + 1)))

    @ensureDeferred
    async def test_as_much_as_the_limits(self, repositories: Repositories) -> None:
        own = repositories.own
        session = await own.begin_session(None)
        ids = [id_of(str(i).encode()) for i in range(limits.MISSING_IDS_MAX)]
        assert all(await own.missing(session, ids))
        frames = await own.fetch(ids[: limits.FETCH_IDS_MAX], ROOM)
        assert not any(frame.length for frame in frames)
        await own.refer(session, ids * (limits.REFERENCE_IDS_MAX // len(ids)), [])

    # Sessions

    @ensureDeferred
    async def test_unknown_sessions(self, repositories: Repositories) -> None:
        own, chunk = repositories.own, sealed("x")
        for what in (
            lambda: own.missing(UNKNOWN_SESSION, [id_of(chunk)]),
            lambda: own.store(UNKNOWN_SESSION, body_of(chunk)),
            lambda: own.refer(UNKNOWN_SESSION, [id_of(chunk)], []),
            lambda: own.commit(UNKNOWN_SESSION, commit_of("a", None, [])),
        ):
            with pytest.raises(SessionLost):
                await what()
        await own.end_session(UNKNOWN_SESSION)

    @ensureDeferred
    async def test_an_ended_session(self, repositories: Repositories) -> None:
        own = repositories.own
        session = await own.begin_session(None)
        await own.end_session(session)
        await own.end_session(session)
        with pytest.raises(SessionLost):
            await own.refer(session, [id_of(b"x")], [])

    @ensureDeferred
    async def test_unknown_base(self, repositories: Repositories) -> None:
        with pytest.raises(NotFound):
            await repositories.own.begin_session(generation_id("never"))

    # Commits

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
        summaries = await own.list_generations()
        assert [s.receipt for s in summaries] == [first, second]
        assert [s.previous for s in summaries] == [None, first.generation]
        assert [s.partial for s in summaries] == [False, True]
        assert [s.chunk_count for s in summaries] == [2, 2]

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

    # Several clients

    @ensureDeferred
    async def test_clients_of_one_repository_share_chunks(self, repositories: Repositories) -> None:
        chunk = sealed("shared")
        own = await back_up(repositories.own, "own", [chunk])
        session = await repositories.colleague.begin_session(None)
        assert list(await repositories.colleague.missing(session, [id_of(chunk)])) == [False]
        await repositories.colleague.refer(session, [id_of(chunk)], [])
        theirs = await repositories.colleague.commit(session, commit_of("theirs", None, [chunk]))
        assert [own.sequence, theirs.sequence] == [1, 2]
        summaries = await repositories.own.list_generations()
        assert [s.receipt for s in summaries] == [own, theirs]
        assert summaries[0].client != summaries[1].client
        latest = (await repositories.own.describe()).latest
        assert latest is not None
        assert latest.summary.receipt == own

    @ensureDeferred
    async def test_another_clients_session_is_unknown(self, repositories: Repositories) -> None:
        session = await repositories.own.begin_session(None)
        with pytest.raises(SessionLost):
            await repositories.colleague.refer(session, [id_of(b"x")], [])
        await repositories.colleague.end_session(session)
        await repositories.own.refer(session, [id_of(b"x")], [])

    @ensureDeferred
    async def test_a_stranger_sees_nothing(self, repositories: Repositories) -> None:
        chunk = sealed("private")
        receipt = await back_up(repositories.own, "own", [chunk])
        stranger = repositories.stranger
        session = await stranger.begin_session(None)
        assert list(await stranger.missing(session, [id_of(chunk)])) == [True]
        assert await fetched(stranger, id_of(chunk)) == [b""]
        assert await stranger.list_generations() == []
        with pytest.raises(NotFound):
            await stranger.get_generation(receipt.generation)
        with pytest.raises(NotFound):
            await stranger.begin_session(receipt.generation)
        own_session = await repositories.own.begin_session(None)
        with pytest.raises(SessionLost):
            await stranger.store(own_session, body_of(chunk))

    # Keyring

    @ensureDeferred
    async def test_keyring(self, repositories: Repositories) -> None:
        own = repositories.own
        empty = await own.get_keyring()
        assert empty.slots == ()
        slots = [KeyringSlot(f"{i:032x}", f"slot {i}: ü", bytes([i]) * 100) for i in range(2)]
        written = await own.put_keyring(slots, empty.etag)
        assert written.slots == tuple(slots)
        assert written.etag != empty.etag
        assert await repositories.colleague.get_keyring() == written
        assert (await repositories.stranger.get_keyring()).slots == ()
        smaller = await own.put_keyring(slots[1:], written.etag)
        assert (await own.get_keyring()) == smaller

    @ensureDeferred
    async def test_keyring_changed_meanwhile(self, repositories: Repositories) -> None:
        own, slot = repositories.own, KeyringSlot("0" * 32, "mine", b"sealed")
        before = await own.get_keyring()
        await repositories.colleague.put_keyring([slot], before.etag)
        with pytest.raises(RequestRefused):
            await own.put_keyring([], before.etag)
        assert (await own.get_keyring()).slots == (slot,)

    # Errors

    @ensureDeferred
    async def test_refusals_are_not_temporary(self, repositories: Repositories) -> None:
        with pytest.raises(ObnamError) as caught:
            await repositories.own.get_generation(generation_id("never"))
        assert not caught.value.temporary
        assert "\n" not in str(caught.value)

    @ensureDeferred
    async def test_close(self, repositories: Repositories) -> None:
        await repositories.stranger.describe()
        await repositories.stranger.close()
