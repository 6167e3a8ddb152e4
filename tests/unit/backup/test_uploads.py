"""What batches have to send becomes bodies: full ones, and no later than when nothing comes."""

import os
from collections.abc import Sequence

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from obnam.backup.pipeline import PLAINTEXT_SLABS, SEALED_SLABS
from obnam.backup.uploads import Sent, Uploads, _Gathered
from obnam.errors import ServerFull
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId, ClientName, SessionId
from obnam.pool.named import Piece
from obnam.pool.pool import WorkerDied
from obnam.pool.rack import SlabRack
from obnam.pool.slabs import Slab, make_slab
from obnam.wire.frames import split
from obnam.wire.lent import Lent
from tests.support.inline_pool import InlinePool, tools_of
from tests.support.memory_repository import MemoryRepository, MemoryServer
from tests.unit.pool.bench import KEYS, noise

ensure = pytest_twisted.ensureDeferred

KIB = 1024
SLABS = 3


@define
class SlowRepository(MemoryRepository):
    """Takes each body when it is let to. ``bodies``: the chunks of each."""

    bodies: list[list[ChunkId]] = field(factory=list)
    received: list[bytes] = field(factory=list)
    waiting: list["Deferred[None]"] = field(factory=list)
    is_slow: bool = False
    lent: list[Lent | None] = field(factory=list)

    def store(
        self, session: SessionId, body: memoryview, lent: Lent | None = None
    ) -> "Deferred[None]":
        """See `IChunks`."""
        self.received.append(bytes(body))
        self.bodies.append([frame.chunk_id for frame in split(body)])
        if not self.is_slow:
            return super().store(session, body)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        self.lent.append(lent)
        return waiting.addCallback(lambda _: MemoryRepository.store(self, session, body))


@define
class Scene:
    """A rack of sealed slabs, and what is made of batches of noise."""

    repository: SlowRepository
    session: SessionId
    pool: InlinePool = field(factory=lambda: InlinePool(tools_of(KEYS)))
    plaintext: SlabRack = field(factory=lambda: SlabRack(1, 512 * KIB))
    sealed: SlabRack = field(factory=lambda: SlabRack(SLABS, 1024 * KIB))
    sent: Sent = field(factory=Sent)
    stored: list[ChunkId] = field(factory=list)
    uploads: Uploads = field(init=False)
    slab: Slab = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.uploads = Uploads(self.repository, self.pool, self.sealed, self.sent, self.session)

    async def batch(self, name: str, length: int) -> ChunkId:
        """Add a batch of one chunk."""
        slab = await self.plaintext.take()
        slab.view[:length] = noise(name, length)
        named = tools_of(KEYS).namer.name(ChunkKind.DATA, slab.view[:length])
        try:
            piece = Piece(0, length, named)
            await self.uploads.add(slab, [piece], lambda: self.stored.append(named))
        finally:
            self.plaintext.put_back(slab)
        return named

    def free_slabs(self) -> int:
        return len(self.sealed._free) + self.sealed._unmade

    def close(self) -> None:
        self.plaintext.close()
        self.sealed.close()


@pytest_twisted.async_yield_fixture
async def scene(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 300 * KIB)
    monkeypatch.setattr("obnam.backup.uploads.UPLOAD_BODY_MAX", 600 * KIB)
    repository = SlowRepository(MemoryServer(), ClientName("laptop"))
    scene = Scene(repository, await repository.begin_session(None))
    yield scene
    scene.close()


async def batches(scene: Scene, lengths: Sequence[int]) -> list[ChunkId]:
    return [await scene.batch(str(n), length) for n, length in enumerate(lengths)]


@ensure
async def test_batches_are_sent_together_once_there_is_enough(scene: Scene) -> None:
    added = await batches(scene, [100 * KIB, 150 * KIB])
    assert scene.repository.bodies == []
    added.append(await scene.batch("last", 100 * KIB))
    assert scene.repository.bodies == [added]
    await scene.uploads.all_stored()
    assert scene.stored == added
    assert (scene.sent.chunks, len(scene.repository.server.chunks)) == (3, 3)
    assert scene.sent.sent_bytes == sum(map(len, scene.repository.received))
    assert scene.free_slabs() == SLABS


@ensure
async def test_when_nothing_more_comes_the_rest_is_sent(scene: Scene) -> None:
    added = await batches(scene, [100 * KIB])
    scene.uploads.flush()
    assert scene.repository.bodies == [added]
    scene.uploads.flush()
    await scene.uploads.all_stored()
    assert len(scene.repository.bodies) == 1


@ensure
async def test_whoever_waits_for_all_has_the_rest_sent(scene: Scene) -> None:
    added = await batches(scene, [100 * KIB])
    await scene.uploads.all_stored()
    assert scene.repository.bodies == [added]
    assert scene.stored == added


@ensure
async def test_all_are_waited_for(scene: Scene) -> None:
    scene.repository.is_slow = True
    added = await batches(scene, [350 * KIB, 350 * KIB])
    waiting = Deferred.fromCoroutine(scene.uploads.all_stored())
    for number, upload in enumerate(scene.repository.waiting):
        assert not waiting.called
        assert scene.stored == added[:number]
        upload.callback(None)
    await waiting
    assert scene.stored == added


@ensure
async def test_too_much_for_a_body_becomes_two(scene: Scene) -> None:
    added = await batches(scene, [250 * KIB, 400 * KIB])
    assert scene.repository.bodies == [[chunk] for chunk in added]
    await scene.uploads.all_stored()
    assert scene.stored == added


@ensure
async def test_while_one_is_sent_the_next_is_gathered(scene: Scene) -> None:
    scene.repository.is_slow = True
    await batches(scene, [350 * KIB, 350 * KIB])
    assert len(scene.repository.bodies) == 2
    assert scene.free_slabs() == SLABS - 2
    for waiting in scene.repository.waiting:
        waiting.callback(None)
    await scene.uploads.all_stored()
    assert scene.free_slabs() == SLABS


@ensure
async def test_what_an_upload_failed_with_is_told_to_whoever_comes_next(scene: Scene) -> None:
    scene.repository.is_slow = True
    await batches(scene, [100 * KIB, 250 * KIB])
    at_rest = await scene.batch("rest", 100 * KIB)
    scene.repository.waiting[0].errback(ServerFull("memory"))
    for _ in range(2):
        with pytest.raises(ServerFull):
            await scene.batch("more", 100 * KIB)
    assert scene.pool.jobs == ["seal_pieces"] * 3
    with pytest.raises(ServerFull):
        await wait_for_all(scene, at_rest)
    assert scene.free_slabs() == SLABS


async def wait_for_all(scene: Scene, at_rest: ChunkId) -> None:
    """While what was at rest is sent."""
    waiting = Deferred.fromCoroutine(scene.uploads.all_stored())
    assert scene.repository.bodies[-1] == [at_rest]
    scene.repository.waiting[-1].callback(None)
    await waiting


@ensure
async def test_a_batch_that_cannot_be_sealed_spoils_no_other(scene: Scene) -> None:
    added = await batches(scene, [100 * KIB])

    def die(_name: str, _arguments: tuple[object, ...]) -> None:
        raise WorkerDied

    scene.pool.before = die
    with pytest.raises(WorkerDied):
        await scene.batch("bad", 100 * KIB)
    scene.pool.before = lambda _name, _arguments: None
    added.append(await scene.batch("good", 250 * KIB))
    assert scene.repository.bodies == [added]
    await scene.uploads.all_stored()
    assert scene.stored == added
    assert scene.free_slabs() == SLABS


@ensure
async def test_stopping_leaves_nothing_under_way(scene: Scene) -> None:
    scene.repository.is_slow = True
    await batches(scene, [350 * KIB])
    await scene.batch("rest", 100 * KIB)
    await scene.uploads.stop()
    assert scene.stored == []
    assert scene.free_slabs() == SLABS
    assert scene.repository.server.chunks == {}
    with pytest.raises(CancelledError):
        await scene.uploads.all_stored()


@ensure
async def test_where_bodies_lie(scene: Scene) -> None:
    scene.repository.is_slow = True
    await batches(scene, [250 * KIB, 400 * KIB])
    scene.repository.waiting[0].callback(None)
    first, second = scene.repository.lent
    assert first is not None
    assert second is not None
    assert (first.offset, first.number) == (0, second.number)
    body = scene.repository.received[1]
    assert os.pread(second.descriptor, len(body), second.offset) == body
    scene.repository.waiting[1].callback(None)
    assert scene.free_slabs() == SLABS


@pytest.mark.parametrize("fails", [True, False])
@ensure
async def test_memory_in_doubt_is_not_used_again(scene: Scene, fails: bool) -> None:
    """Also when it was stored by another attempt in the end."""
    scene.repository.is_slow = True
    (chunk,) = await batches(scene, [350 * KIB])
    (lent,) = scene.repository.lent
    assert lent is not None
    lent.in_doubt = True
    if fails:
        scene.repository.waiting[0].errback(ServerFull("memory"))
        with pytest.raises(ServerFull):
            await scene.uploads.all_stored()
    else:
        scene.repository.waiting[0].callback(None)
        assert scene.stored == [chunk]
    assert scene.free_slabs() == SLABS
    numbers = {(await scene.sealed.take()).number for _ in range(SLABS)}
    assert lent.number not in numbers


@ensure
async def test_memory_stays_in_doubt_whatever_comes_after(scene: Scene) -> None:
    """Of two bodies in one slab, the first one is."""
    scene.repository.is_slow = True
    await batches(scene, [250 * KIB, 400 * KIB])
    first = scene.repository.lent[0]
    assert first is not None
    first.in_doubt = True
    for number in range(2):
        scene.repository.waiting[number].callback(None)
    await scene.uploads.all_stored()
    assert scene.free_slabs() == SLABS
    numbers = {(await scene.sealed.take()).number for _ in range(SLABS)}
    assert first.number not in numbers


@pytest.mark.parametrize(
    ("ends", "sizes"), [([10], [10]), ([10, 11], [10, 1]), ([4, 10, 20, 21], [10, 10, 1])]
)
def test_no_body_is_larger_than_it_may_be(
    monkeypatch: pytest.MonkeyPatch, ends: list[int], sizes: list[int]
) -> None:
    monkeypatch.setattr("obnam.backup.uploads.UPLOAD_BODY_MAX", 10)
    slab = make_slab(30)
    try:
        bodies = list(_Gathered(slab, ends).bodies())
        assert [len(body) for body, _ in bodies] == sizes
        assert [lent.offset for _, lent in bodies] == [sum(sizes[:n]) for n in range(len(sizes))]
    finally:
        slab.remove()


def test_there_is_a_slab_to_seal_into_for_each_of_plaintext() -> None:
    assert SEALED_SLABS >= PLAINTEXT_SLABS


@ensure
async def test_no_batch_waits_for_a_slab_that_waits_for_batches(scene: Scene) -> None:
    others = [await scene.sealed.take() for _ in range(SLABS - 1)]
    second: list[Deferred[ChunkId]] = []

    def begin_another(_name: str, _arguments: tuple[object, ...]) -> None:
        """While the first is sealed, into the only slab."""
        if not second:
            second.append(Deferred.fromCoroutine(scene.batch("second", 100 * KIB)))

    scene.plaintext._unmade += 1
    scene.pool.before = begin_another
    first = await scene.batch("first", 100 * KIB)
    added = [first, await second[0]]
    await scene.uploads.all_stored()
    assert scene.repository.bodies == [[chunk] for chunk in added]
    assert scene.stored == added
    for slab in others:
        scene.sealed.put_back(slab)
    assert scene.free_slabs() == SLABS
