"""The contract of `IChunks` and `ISessions`, as tests."""

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet.defer import gatherResults

from obnam.errors import (
    NotFound,
    RequestRefused,
    ServerMisbehaved,
    SessionLost,
)
from obnam.wire import limits
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.messages import KeyringSlot
from tests.contract.values import (
    ROOM,
    UNKNOWN_SESSION,
    Repositories,
    body_of,
    commit_of,
    fetched,
    generation_id,
    id_of,
    sealed,
)


class ChunksContract:
    """Sealed chunks in and out, within sessions."""

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
    async def test_whether_there_are_chunks(self, repositories: Repositories) -> None:
        """A keyring, which almost every repository has from its beginning, does not count."""
        own = repositories.own
        slot = KeyringSlot("ab" * 16, "label", b"sealed")
        await own.put_keyring([slot], (await own.get_keyring()).etag)
        assert (await own.describe()).has_chunks is False
        session = await own.begin_session(None)
        await own.store(session, body_of(sealed("one")))
        assert (await repositories.own.describe()).has_chunks is True
        await own.end_session(session)
        assert (await own.describe()).has_chunks is True

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
