"""The way of the data: read, cut and name; ask; compress and seal what is missing; send; record.

A few lanes pull batches from one scan, and slabs bound the bytes in flight: that is the
backpressure. A lane is done with a batch when it is sealed and recorded; its chunks may still be on
their way. Nothing is committed before all of them are durable on the server, and when one cannot
be sent, the records are thrown away.
"""

import errno
from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from obnam.backup.ahead import ScanAhead
from obnam.backup.batches import Batch, Cut
from obnam.backup.large import LargeFileReader
from obnam.backup.record import Recorder
from obnam.backup.together import all_fired, all_of
from obnam.backup.uploads import Sent, Uploads
from obnam.model.entry import printable
from obnam.model.ids import ChunkId, SessionId
from obnam.pool.named import Group, NamedFiles, Piece, Trouble
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.read_files import name_bundle, name_files
from obnam.pool.slabs import Slab
from obnam.pool.thread import OwnThread
from obnam.progress import IProgress
from obnam.wire.interfaces import IChunks
from obnam.wire.limits import MIB, MISSING_IDS_MAX

PLAINTEXT_SLAB_BYTES = 15 * MIB
"""What does not shrink, cut into the smallest pieces, still is a body that may be uploaded."""

PLAINTEXT_SLABS = 4

SEALED_SLABS = PLAINTEXT_SLABS
"""Each slab of plaintext may be on its way into another one of these. With fewer, uploads would be
sent before there is enough for them."""

LANES = 16
"""Batches under way at once. A few are read or sealed; the others wait for a slab, so that workers
always have work."""


@define
class Store:
    """Asks the server which pieces it lacks, and sends those.

    It is not asked while it has nothing but what it was sent by us (``asks``); or by another
    client since we began, and then has some chunks twice, which is harmless.
    """

    _repository: IChunks
    _thread: OwnThread
    _recorder: Recorder
    _plaintext: SlabRack
    _uploads: Uploads
    _asks: bool
    _under_way: set[ChunkId] = field(factory=set)

    async def store(
        self, slab: Slab, pieces: Sequence[Piece], record: Callable[[], object]
    ) -> None:
        """Send all pieces that the server lacks, and ``record`` what is made of them.

        They are on the server after `all_stored`. The slab is put back as soon as it can be.
        ``record`` is called on the generation's thread.
        """
        # In this order: what is recorded is known.
        unknown = self._thread.call(self._recorder.unknown, pieces)
        recorded: Deferred[object] = self._thread.call(record)
        sent: Deferred[object] = Deferred.fromCoroutine(self._send(slab, pieces, unknown))
        await all_fired([sent, recorded])

    async def _send(
        self, slab: Slab, pieces: Sequence[Piece], unknown: "Deferred[list[ChunkId]]"
    ) -> None:
        try:
            # What another batch is sending is stored before anything is committed.
            fresh = [chunk_id for chunk_id in await unknown if chunk_id not in self._under_way]
            self._under_way.update(fresh)
            missing = await self._missing(fresh)
            if self._asks:
                self._under_way.difference_update(set(fresh) - missing)
            if missing:
                first = {piece.id: piece for piece in reversed(pieces)}
                wanted = sorted(first[chunk_id] for chunk_id in missing)
                await self._uploads.add(slab, wanted, partial(self._stored, missing))
        finally:
            self._plaintext.put_back(slab)

    def _stored(self, ids: set[ChunkId]) -> None:
        if self._asks:
            self._under_way.difference_update(ids)

    async def all_stored(self) -> None:
        """Wait until all that was to be sent is durable on the server."""
        await self._uploads.all_stored()

    def go_on_in(self, session: SessionId) -> None:
        """After a checkpoint, with nothing under way."""
        self._uploads.session = session
        self._asks = True
        self._under_way.clear()

    async def stop(self) -> None:
        """Give up what is under way."""
        await self._uploads.stop()

    async def _missing(self, ids: Sequence[ChunkId]) -> set[ChunkId]:
        if not self._asks:
            return set(ids)
        missing: set[ChunkId] = set()
        for at in range(0, len(ids), MISSING_IDS_MAX):
            part = ids[at : at + MISSING_IDS_MAX]
            answers = await self._repository.missing(self._uploads.session, part)
            missing.update(chunk_id for chunk_id, lacks in zip(part, answers, strict=True) if lacks)
        return missing


@define
class Pipeline:
    """Takes batches from the scan to the server and into the nascent generation."""

    _clock: IReactorTime
    _pool: IPool
    _thread: OwnThread
    _recorder: Recorder
    _plaintext: SlabRack
    _store: Store
    _large: LargeFileReader
    _progress: IProgress
    _sent: Sent
    _stopping: bool = False

    def go_on_in(self, session: SessionId) -> None:
        """After a checkpoint: the session that protects what is stored from now on."""
        self._store.go_on_in(session)

    async def all_stored(self) -> None:
        """Wait until all that was read is durable on the server. Raises what kept it from that."""
        await self._store.all_stored()

    async def stop(self) -> None:
        """Give up what is on its way."""
        await self._store.stop()

    async def run(self, scan: ScanAhead, until_s: float) -> bool:
        """Work until there are no more batches (``True``) or it is ``until_s`` by the clock.

        When it returns, all is recorded, and the last of it may be on its way: see `all_stored`.
        When it raises, nothing is under way any more.
        """
        self._stopping = False
        try:
            return all(await all_of([self._lane(scan, until_s) for _ in range(LANES)]))
        except BaseException:
            await self._store.stop()
            raise
        finally:
            await scan.pause()

    async def _lane(self, scan: ScanAhead, until_s: float) -> bool:
        try:
            while not self._stopping and self._clock.seconds() < until_s:
                batch = await scan.next()
                if batch is None:
                    return True
                self._progress.expect(batch.size_bytes)
                await self._batch(batch)
        except BaseException:
            self._stopping = True
            raise
        return False

    async def _batch(self, batch: Batch) -> None:
        if batch.cut is Cut.PARTS:
            await self._large_file(batch.groups[0])
        else:
            await self._files(batch)
        self._progress.advance(batch.file_count, batch.size_bytes)

    async def _files(self, batch: Batch) -> None:
        job = name_bundle if batch.cut is Cut.BUNDLE else name_files
        slab = await self._plaintext.take()
        try:
            named: NamedFiles = await self._pool.run(job, slab.name, batch.groups)
        except BaseException:
            self._plaintext.put_back(slab)
            raise
        await self._store.store(slab, named.pieces, partial(self._recorder.record, named))
        self._sent.files += len(named.whole) + len(named.rows)
        self._sent.read_bytes += named.size_bytes
        for path in named.changing:
            self._warn(path, "changed while it was read; it is stored as it was read last")
        for trouble in named.troubles:
            await self._trouble(trouble)
        for group, size_bytes in named.grown:
            cut = Cut.PARTS if size_bytes > self._plaintext.size_bytes else Cut.EACH
            await self._batch(Batch(cut, (group,), size_bytes, 1))

    async def _large_file(self, group: Group) -> None:
        outcome = await self._large.read(group)
        if isinstance(outcome, Trouble):
            await self._trouble(outcome)
            return
        self._sent.files += 1
        self._sent.read_bytes += outcome.size_bytes
        if outcome.changing:
            path = group.path + b"/" + group.names[0]
            self._warn(path, "changed while it was read; it is stored as it was read last")

    async def _trouble(self, trouble: Trouble) -> None:
        if trouble.code == errno.ENOENT:
            # Deleted since it was listed: it is not live data any more.
            await self._thread.call(self._recorder.vanished, trouble.directory, trouble.name)
            return
        kept = await self._thread.call(self._recorder.trouble, trouble)
        what = "; what an earlier backup has of it is kept" if kept else ""
        self._warn(trouble.path + b"/" + trouble.name, f"cannot be read: {trouble.text}{what}")

    def _warn(self, path: bytes, what: str) -> None:
        self._sent.warnings += 1
        self._progress.warn(f"{printable(path)}: {what}")
