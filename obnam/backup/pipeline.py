"""The way of the data: read, cut and name; ask; compress and seal what is missing; send; record.

A few lanes pull batches from one scan, and slabs bound the bytes in flight: that is the
backpressure. A lane is done with a batch when it is sealed and recorded; its chunks may still be on
their way. Nothing is committed before all of them are durable on the server, and when one cannot
be sent, the records are thrown away.
"""

import errno
from functools import partial

from attrs import define
from twisted.internet.interfaces import IReactorTime

from obnam.backup.ahead import ScanAhead
from obnam.backup.batches import Batch, Cut
from obnam.backup.large import LargeFileReader
from obnam.backup.meter import Meter
from obnam.backup.record import Recorder
from obnam.backup.sender import Sender
from obnam.backup.uploads import Sent
from obnam.model.entry import printable
from obnam.model.ids import SessionId
from obnam.pool.named import Group, NamedFiles, Trouble
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.read_files import name_bundle, name_files
from obnam.pool.thread import OwnThread
from obnam.pool.together import all_of
from obnam.progress import IProgress
from obnam.wire.limits import MIB

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
class Pipeline:
    """Takes batches from the scan to the server and into the nascent generation."""

    _clock: IReactorTime
    _pool: IPool
    _thread: OwnThread
    _recorder: Recorder
    _plaintext: SlabRack
    _sender: Sender
    _large: LargeFileReader
    _progress: IProgress
    _sent: Sent
    _stopping: bool = False

    def go_on_in(self, session: SessionId) -> None:
        """After a checkpoint: the session that protects what is stored from now on."""
        self._sender.go_on_in(session)

    async def all_stored(self) -> None:
        """Wait until all that was read is durable on the server. Raises what kept it from that."""
        await self._sender.all_stored()

    async def stop(self) -> None:
        """Give up what is on its way."""
        await self._sender.stop()

    async def run(self, scan: ScanAhead, until_s: float) -> bool:
        """Work until there are no more batches (``True``) or it is ``until_s`` by the clock.

        When it returns, all is recorded, and the last of it may be on its way: see `all_stored`.
        When it raises, nothing is under way any more.
        """
        self._stopping = False
        try:
            return all(await all_of([self._lane(scan, until_s) for _ in range(LANES)]))
        except BaseException:
            await self._sender.stop()
            await self._pool.settled()
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
        meter = Meter(self._progress, batch.size_bytes)
        if batch.cut is Cut.PARTS:
            await self._large_file(batch.groups[0], meter)
        else:
            await self._files(batch, meter)
        meter.read(batch.file_count)

    async def _files(self, batch: Batch, meter: Meter) -> None:
        job = name_bundle if batch.cut is Cut.BUNDLE else name_files
        slab = await self._plaintext.take()
        try:
            named: NamedFiles = await self._pool.run(job, slab.name, batch.groups)
        except BaseException:
            self._plaintext.put_back(slab)
            raise
        await self._sender.send(slab, named.pieces, meter, partial(self._recorder.record, named))
        self._sent.files += len(named.whole) + len(named.rows)
        self._sent.read_bytes += named.size_bytes
        for path in named.changing:
            self._warn(path, "changed while it was read; it is stored as it was read last")
        for trouble in named.troubles:
            await self._trouble(trouble)
        for group, size_bytes in named.grown:
            cut = Cut.PARTS if size_bytes > self._plaintext.size_bytes else Cut.EACH
            await self._batch(Batch(cut, (group,), size_bytes, 1))

    async def _large_file(self, group: Group, meter: Meter) -> None:
        outcome = await self._large.read(group, meter)
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
