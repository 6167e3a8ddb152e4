"""The store keeps the contract, without any HTTP before it."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from attrs import define
from zope.interface import implementer

from obnam.errors import RequestRefused, ServerMisbehaved
from obnam.model.ids import ChunkId, ClientName, GenerationId, RepositoryName, SessionId
from obnam.repository.deferring import returns_deferred
from obnam.wire import limits
from obnam.wire.damage import DamagePage
from obnam.wire.frames import BadFrame, Frame, split
from obnam.wire.interfaces import IRepository
from obnam.wire.lent import Lent
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import (
    SCOPES,
    Commit,
    CommittedGeneration,
    Keyring,
    KeyringSlot,
    Receipt,
    RepositoryDescription,
)
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from tests.contract.damage_contract import Break, BrokenContract
from tests.contract.repository_contract import Repositories, RepositoryContract
from tests.support.scrubbed import break_chunk
from tests.support.stored import Clock, finished


@implementer(IRepository)
@define
class StoreRepository:
    """`IRepository` for one client, right on the store. Limits on counts are the API's to check."""

    store_: RepositoryStore
    client: ClientName
    server_key: bytes

    @returns_deferred
    async def begin_session(self, base: GenerationId | None) -> SessionId:
        return self.store_.begin_session(self.client, base)

    @returns_deferred
    async def refer(
        self, session: SessionId, added: Sequence[ChunkId], removed: Sequence[ChunkId]
    ) -> None:
        _at_most(limits.REFERENCE_IDS_MAX, len(added) + len(removed))
        self.store_.refer(self.client, session, added, removed)

    @returns_deferred
    async def end_session(self, session: SessionId) -> None:
        self.store_.end_session(self.client, session)

    @returns_deferred
    async def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> Sequence[bool]:
        _at_most(limits.MISSING_IDS_MAX, len(ids))
        return self.store_.missing(session, ids, self.client)

    @returns_deferred
    async def store(self, session: SessionId, body: memoryview, lent: Lent | None = None) -> None:
        try:
            upload = finished(self.store_, bytes(body), piece_bytes=65_536)
        except BadFrame as error:
            raise RequestRefused("store", str(error)) from error
        try:
            self.store_.accept(session, upload, self.client)
        except BaseException:
            upload.abort()
            raise

    @returns_deferred
    async def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> Sequence[Frame]:
        _at_most(limits.FETCH_IDS_MAX, len(ids))
        at = 0
        for piece in self.store_.frames(self.store_.wanted(ids)):
            if at + len(piece) > len(into):
                raise ServerMisbehaved("store", "more frames than there is room for")
            into[at : at + len(piece)] = piece
            at += len(piece)
        return list(split(into[:at]))

    @returns_deferred
    async def describe(self) -> RepositoryDescription:
        return RepositoryDescription(
            repository=self.store_.name,
            client=self.client,
            scopes=SCOPES,
            server_time_ns=0,
            used_bytes=self.store_.used_bytes(),
            quota_bytes=None,
            generation_count=self.store_.generation_count(),
            damaged_chunk_count=self.store_.damaged_chunk_count(),
            latest=self.store_.latest(self.client),
            repository_id=self.store_.repository_id,
            server_key=self.server_key,
            newest=self.store_.newest(),
            has_chunks=self.store_.has_chunks(),
        )

    @returns_deferred
    async def commit(self, session: SessionId, commit: Commit) -> Receipt:
        return self.store_.commit(self.client, session, commit)

    @returns_deferred
    async def list_generations(self) -> Sequence[ListedGeneration]:
        return self.store_.decisions.listed(0, limits.GENERATIONS_PAGE_MAX)

    @returns_deferred
    async def get_generation(self, generation: GenerationId) -> CommittedGeneration:
        return self.store_.get_generation(generation)

    @returns_deferred
    async def delete_generation(self, generation: GenerationId) -> None:
        self.store_.change(self.store_.decisions.delete, [generation], self.client, "deleted")

    @returns_deferred
    async def undelete_generation(self, generation: GenerationId) -> None:
        self.store_.change(self.store_.decisions.undelete, [generation])

    @returns_deferred
    async def pin_generation(self, generation: GenerationId, reason: str) -> None:
        self.store_.change(self.store_.decisions.pin, generation, self.client, reason)

    @returns_deferred
    async def unpin_generation(self, generation: GenerationId) -> None:
        self.store_.change(self.store_.decisions.unpin, generation)

    @returns_deferred
    async def list_trash(self) -> Sequence[ListedGeneration]:
        return self.store_.decisions.trash(0, limits.GENERATIONS_PAGE_MAX)

    @returns_deferred
    async def damage(self, first: int) -> DamagePage:
        return self.store_.damage(first)

    @returns_deferred
    async def get_keyring(self) -> Keyring:
        return self.store_.get_keyring()

    @returns_deferred
    async def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> Keyring:
        return self.store_.put_keyring(slots, etag)

    @returns_deferred
    async def close(self) -> None:
        pass


def _at_most(limit: int, length: int) -> None:
    if length > limit:
        raise RequestRefused("store", f"{length} in one request, {limit} allowed")


class TestStore(RepositoryContract, BrokenContract):
    @pytest.fixture
    def break_chunk(self, tmp_path: Path, repositories: Repositories) -> Break:
        assert isinstance(repositories.own, StoreRepository)
        return partial(break_chunk, tmp_path / "data", repositories.own.store_)

    @pytest.fixture
    def repositories(self, tmp_path: Path) -> Iterator[Repositories]:
        store = Store.open(tmp_path / "data", Clock())
        home = store.create_repository(RepositoryName("home"))
        other = store.create_repository(RepositoryName("other"))
        yield Repositories(
            StoreRepository(home, ClientName("laptop"), store.key.public),
            StoreRepository(home, ClientName("desktop"), store.key.public),
            StoreRepository(other, ClientName("laptop"), store.key.public),
        )
        store.close()
