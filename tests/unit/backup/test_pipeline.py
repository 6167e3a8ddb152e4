"""The lanes between scan and server: what is asked, sealed and sent, and how it stops."""

import errno
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from obnam.backup.ahead import ScanAhead
from obnam.backup.batches import Batch, Cut
from obnam.backup.large import LargeFileReader
from obnam.backup.pipeline import Pipeline
from obnam.backup.record import Recorder
from obnam.backup.sender import Sender
from obnam.backup.uploads import Sent, Uploads
from obnam.errors import ServerFull, ServerUnreachable
from obnam.generation.nascent import NascentGeneration
from obnam.model.ids import ChunkId, ClientName, SessionId
from obnam.pool.named import Group, NamedPart, Trouble
from obnam.pool.pool import WorkerDied
from obnam.pool.rack import SlabRack
from obnam.pool.read_files import name_part
from obnam.pool.worker import Tools
from tests.support.counting_repository import CountingRepository
from tests.support.inline_pool import InlinePool, tools_of
from tests.support.memory_repository import MemoryServer
from tests.support.null_progress import NullProgress
from tests.unit.backup.laptop import KEYS, Laptop
from tests.unit.pool.bench import group_of, noise

ensure = pytest_twisted.ensureDeferred
SLABS = 3


@define
class SlowRepository(CountingRepository):
    """Answers a question only when it is let to."""

    waiting: list["Deferred[None]"] = field(factory=list)
    is_slow: bool = False

    def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> "Deferred[Sequence[bool]]":
        """See `IChunks`."""
        if not self.is_slow:
            return super().missing(session, ids)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: CountingRepository.missing(self, session, ids))


@define
class Line:
    """A pipeline, and all that belongs to it."""

    laptop: Laptop
    repository: SlowRepository
    session: SessionId
    nascent: NascentGeneration
    clock: Clock = field(factory=Clock)
    progress: NullProgress = field(factory=NullProgress)
    sent: Sent = field(factory=Sent)
    plaintext: SlabRack = field(factory=lambda: SlabRack(SLABS, 2 << 20))
    sealed: SlabRack = field(factory=lambda: SlabRack(SLABS, 3 << 20))
    pool: InlinePool = field(factory=lambda: InlinePool(tools_of(KEYS)))
    asks: bool = True
    pipeline: Pipeline = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new pipeline, which knows nothing of the one before."""
        recorder, thread = Recorder(self.nascent), self.laptop.thread
        uploads = Uploads(self.repository, self.pool, self.sealed, self.sent, self.session)
        self.plaintext.when_idle = uploads.flush
        sender = Sender(self.repository, thread, recorder, self.plaintext, uploads, asks=self.asks)
        large = LargeFileReader(
            self.pool, thread, self.laptop.checksums, recorder, self.plaintext, sender
        )
        self.pipeline = Pipeline(
            self.clock, self.pool, thread, recorder, self.plaintext, sender, large, self.progress,
            self.sent,
        )  # fmt: skip

    def file(self, name: str, content: bytes, cut: Cut) -> Batch:
        """A batch of one file, which is made."""
        (self.laptop.root / name).write_bytes(content)
        return Batch(cut, (group_of(self.laptop.root, name.encode()),), len(content), 1)

    def scan(self, batches: Iterable[Batch]) -> ScanAhead:
        """What gives these batches to the lanes."""
        return ScanAhead(self.laptop.thread, iter(batches))

    async def run(self, batches: Iterable[Batch]) -> bool:
        """The pipeline to its end."""
        has_ended = await self.pipeline.run(self.scan(batches), 1e9)
        await self.pipeline.all_stored()
        return has_ended

    def all_slabs_are_back(self) -> bool:
        """Whether nobody has one."""
        return all(
            len(rack._free) + rack._unmade == SLABS for rack in (self.plaintext, self.sealed)
        )

    def close(self) -> None:
        """Give all back."""
        self.plaintext.close()
        self.sealed.close()


@pytest_twisted.async_yield_fixture
async def line(
    laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Line]:
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)  # each batch by itself
    repository = SlowRepository(MemoryServer(), ClientName("laptop"))
    session = await repository.begin_session(None)
    call = laptop.thread.call
    nascent = await call(NascentGeneration.create, tmp_path / "database", 1)
    line = Line(laptop, repository, session, nascent)
    yield line
    await call(line.nascent.close)
    line.close()


@ensure
async def test_every_batch_goes_through(line: Line) -> None:
    batches = [line.file(str(n), noise(n, 300_000), Cut.EACH) for n in range(20)]
    batches.append(line.file("huge", noise("huge", 5 << 20), Cut.PARTS))
    assert await line.run(batches)
    assert line.sent.files == 21
    assert line.sent.read_bytes == 20 * 300_000 + (5 << 20)
    assert line.sent.chunks == len(line.repository.stored) == len(line.repository.server.chunks)
    assert line.all_slabs_are_back()
    known = await line.laptop.thread.call(line.nascent.known, 7)
    assert len(known) == 21


@ensure
async def test_the_progress_is_what_is_stored(line: Line) -> None:
    """A large file is not done at its end only, and nothing is before it is on the server."""
    seen: list[int] = []
    line.repository.before_store = lambda: seen.append(line.progress.done_bytes)
    assert await line.run([line.file("huge", noise("huge", 6 << 20), Cut.PARTS)])
    assert seen[0] == 0
    assert len(set(seen)) > 2
    assert seen == sorted(seen)
    assert seen[-1] < line.progress.done_bytes == 6 << 20
    assert line.progress.done_files == 1


@ensure
async def test_who_looks_at_the_progress_goes_away(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in ``obnam --json backup 2>&1 | head``: it ends, and nothing is left."""

    def gone(_self: object, files: int, size_bytes: int) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(NullProgress, "advance", gone)
    with pytest.raises(BrokenPipeError):
        await line.run([line.file("huge", noise("huge", 6 << 20), Cut.PARTS)])
    assert line.all_slabs_are_back()


@ensure
async def test_what_is_known_is_progress_as_well(line: Line) -> None:
    batches = [line.file(str(n), noise(n % 3, 300_000), Cut.EACH) for n in range(7)]
    assert await line.run(batches)
    assert (line.progress.done_files, line.progress.done_bytes) == (7, 7 * 300_000)


@ensure
async def test_nothing_to_do(line: Line) -> None:
    assert await line.run([])


@ensure
async def test_when_the_time_is_up_what_was_begun_is_ended(line: Line) -> None:
    line.repository.before_store = lambda: line.clock.advance(1)
    scan = line.scan([line.file(str(n), noise(n, 300_000), Cut.EACH) for n in range(60)])
    rounds = 1
    while not await line.pipeline.run(scan, line.clock.seconds() + 5):
        rounds += 1
        await line.pipeline.all_stored()
        assert line.all_slabs_are_back()
        known = await line.laptop.thread.call(line.nascent.known, 7)
        assert len(known) == line.sent.files
    assert rounds >= 3
    assert line.sent.files == 60


@ensure
async def test_when_the_time_is_up_the_scan_rests(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes would come between the steps of a commit, and into the middle of its copy."""
    monkeypatch.setattr("obnam.backup.ahead.AHEAD", 1 << 30)
    taken = 0

    def batches() -> Iterator[Batch]:
        nonlocal taken
        while True:
            taken += 1
            line.clock.advance(0.1)
            yield line.file(str(taken % 100), b"content", Cut.BUNDLE)

    scan = line.scan(batches())
    assert not await line.pipeline.run(scan, line.clock.seconds() + 5)
    so_far = taken
    for _ in range(10):
        await line.laptop.thread.call(lambda: None)
    assert taken == so_far
    await line.pipeline.all_stored()


@ensure
async def test_after_a_checkpoint_nothing_counts_as_on_its_way(line: Line, tmp_path: Path) -> None:
    """What was sent unasked is not protected by the new session, and is asked for there."""
    line.asks = False
    line.begin()
    assert await line.run([line.file("first", noise("same", 300_000), Cut.EACH)])
    (chunk,) = line.repository.stored
    assert line.repository.asked == []
    await line.laptop.thread.call(line.nascent.drop, 7, [b"first"])
    await line.laptop.thread.call(line.nascent.save_copy, tmp_path / "copy")
    line.pipeline.go_on_in(await line.repository.begin_session(None))
    assert await line.run([line.file("again", noise("same", 300_000), Cut.EACH)])
    assert line.repository.asked == [chunk]


@ensure
async def test_what_is_on_the_server_is_not_remembered(line: Line, tmp_path: Path) -> None:
    """Neither what was sent nor what was there: it may be all that the computer has."""
    call, batches = line.laptop.thread.call, [line.file("a", noise("a", 900_000), Cut.EACH)]
    assert await line.run(batches)
    assert line.pipeline._sender._under_way == set()
    sent, first = len(line.repository.stored), line.nascent
    line.nascent = await call(NascentGeneration.create, tmp_path / "another", 1)
    line.begin()
    assert await line.run(batches)
    assert len(line.repository.stored) == sent > 0
    assert line.pipeline._sender._under_way == set()
    await call(first.close)


@ensure
async def test_what_is_on_its_way_is_neither_asked_for_nor_sent_again(line: Line) -> None:
    line.repository.is_slow = True
    batches = [line.file(str(n), noise("same", 300_000), Cut.EACH) for n in range(3)]
    running = Deferred.fromCoroutine(line.run(batches))
    while len(line.pool.jobs) < 3 or not line.repository.waiting:
        await line.laptop.thread.call(lambda: None)
    for _ in range(20):
        await line.laptop.thread.call(lambda: None)
    (question,) = line.repository.waiting
    question.callback(None)
    assert await running
    assert len(line.repository.stored) == len(set(line.repository.stored)) == line.sent.chunks
    assert line.pool.jobs.count("seal_pieces") == 1


@ensure
@pytest.mark.parametrize("cut", [Cut.EACH, Cut.PARTS])
async def test_a_failure_stops_all_lanes_and_leaves_nothing(line: Line, cut: Cut) -> None:
    room = iter(range(3))

    def full() -> None:
        if next(room, None) is None:
            raise ServerFull("memory")

    line.repository.before_store = full
    length = 300_000 if cut is Cut.EACH else 5 << 20
    made = [line.file(str(n), noise(n, length), cut) for n in range(8)]
    with pytest.raises(ServerFull):
        await line.run(made)
    assert line.all_slabs_are_back()
    before = len(line.repository.stored)
    line.repository.before_store = lambda: None
    line.begin()
    assert await line.run(made)  # as the next run would
    assert before <= len(line.repository.stored) == len(set(line.repository.stored))


@ensure
@pytest.mark.parametrize("job", ["name_files", "name_bundle", "name_part", "seal_pieces"])
async def test_a_worker_that_dies_stops_all(line: Line, job: str) -> None:
    def die(name: str, _arguments: tuple[object, ...]) -> None:
        if name == job:
            raise WorkerDied

    line.pool.before = die
    cuts = {"name_bundle": Cut.BUNDLE, "name_part": Cut.PARTS}
    batches = [line.file(str(n), noise(n, 3000), cuts.get(job, Cut.EACH)) for n in range(8)]
    with pytest.raises(WorkerDied):
        await line.run(batches)
    assert line.all_slabs_are_back()
    assert line.sent.files == 0


@ensure
async def test_when_all_stop_what_is_on_its_way_is_given_up(line: Line) -> None:
    def die(name: str, _arguments: tuple[object, ...]) -> None:
        if name == "name_files" and line.repository.on_their_way:
            raise WorkerDied

    line.pool.before = die
    line.repository.is_stuck = True
    with pytest.raises(WorkerDied):
        await line.run([line.file(str(n), noise(n, 300_000), Cut.EACH) for n in range(8)])
    assert line.repository.on_their_way
    assert all(upload.called for upload in line.repository.on_their_way)
    assert line.all_slabs_are_back()


@ensure
async def test_a_question_that_fails(line: Line) -> None:
    line.repository.is_slow = True
    running = Deferred.fromCoroutine(
        line.run([line.file(str(n), noise(n, 3000), Cut.EACH) for n in range(8)])
    )
    while not line.repository.waiting:
        await line.laptop.thread.call(lambda: None)
    line.repository.waiting[0].errback(ServerUnreachable("memory", "gone"))
    with pytest.raises(ServerUnreachable):
        await running
    assert line.all_slabs_are_back()


@ensure
@pytest.mark.parametrize("fails", [False, True])
async def test_a_large_file_that_cannot_be_read_to_its_end(
    line: Line, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """What of it is on its way is waited for, and its failure heard; its slab is another's."""

    def cut_short(tools: Tools, slab: str, group: Group, start: int) -> NamedPart | Trouble:
        if start:
            return Trouble(group.directory, group.path, group.names[0], errno.EIO, "I/O error")
        return name_part(tools, slab, group, start)

    monkeypatch.setattr("obnam.backup.large.name_part", cut_short)
    batch = line.file("huge", noise("huge", 5 << 20), Cut.PARTS)
    line.repository.is_slow = True
    running = Deferred.fromCoroutine(line.run([batch]))
    while not line.repository.waiting:
        await line.laptop.thread.call(lambda: None)
    for _ in range(10):
        await line.laptop.thread.call(lambda: None)
    assert not running.called
    if fails:
        line.repository.waiting[0].errback(ServerUnreachable("memory", "gone"))
        with pytest.raises(ServerUnreachable):
            await running
    else:
        line.repository.waiting[0].callback(None)
        assert await running
        assert len(line.progress.warnings) == 1
    assert line.all_slabs_are_back()


@ensure
async def test_a_scan_that_fails(line: Line) -> None:
    def batches() -> Iterator[Batch]:
        yield line.file("a", b"a", Cut.BUNDLE)
        raise ServerFull("the disk")

    with pytest.raises(ServerFull):
        await line.run(batches())
    assert line.all_slabs_are_back()
