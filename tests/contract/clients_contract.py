"""The contract of `IRepository` where several clients meet, and of `IKeyring`, as tests."""

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.errors import (
    NotFound,
    ObnamError,
    RequestRefused,
    SessionLost,
)
from obnam.wire.messages import KeyringSlot
from tests.contract.values import (
    Repositories,
    back_up,
    body_of,
    commit_of,
    fetched,
    generation_id,
    id_of,
    sealed,
)


class ClientsContract:
    """What clients share, and what they do not."""

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
        summaries = [each.summary for each in await repositories.own.list_generations()]
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
        with pytest.raises(SessionLost):
            await repositories.colleague.missing(session, [id_of(b"x")])
        with pytest.raises(SessionLost):
            await repositories.colleague.store(session, body_of(sealed("x")))
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
