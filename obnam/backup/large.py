"""A file that is larger than a slab: one part after another is read, cut and named.

Where a part ends is known only when it is cut, so the parts of one file are named in turn; but
while one is read the others before it are compressed, sealed and sent, on every core.
"""

from functools import partial

from attrs import define, frozen
from twisted.internet.defer import Deferred

from obnam.backup.meter import Meter
from obnam.backup.record import Recorder
from obnam.backup.sender import Sender
from obnam.pool.checksum import ContentChecksum
from obnam.pool.named import Group, NamedPart, Trouble
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.read_files import name_part
from obnam.pool.reading import READ_TRIES
from obnam.pool.slabs import Slab
from obnam.pool.sum_up import sum_up, sum_up_hole
from obnam.pool.thread import OwnThread
from obnam.pool.together import all_fired, stop_all


@frozen
class LargeFileDone:
    """A large file is recorded; ``changing``: it changed at every try."""

    size_bytes: int
    changing: bool


@define
class LargeFileReader:
    """Reads large files, and hands each part to the sender."""

    _pool: IPool
    _thread: OwnThread
    _checksums: OwnThread
    _recorder: Recorder
    _plaintext: SlabRack
    _sender: Sender

    async def read(self, group: Group, meter: Meter) -> LargeFileDone | Trouble:
        """Read, store and record the one file of ``group``; again when it changes meanwhile."""
        for attempt in range(READ_TRIES):
            last = attempt == READ_TRIES - 1
            outcome = await self._once(group, meter, keep_changed=last)
            if outcome is not None:
                return outcome
        raise AssertionError("the last try always has an outcome")

    async def _once(
        self, group: Group, meter: Meter, *, keep_changed: bool
    ) -> LargeFileDone | Trouble | None:
        number = await self._thread.call(self._recorder.begin_large)
        content = ContentChecksum()
        storing: list[Deferred[None]] = []
        statuses: set[tuple[int, ...]] = set()
        start = 0
        try:
            while True:
                # What cannot be stored is told now, and not when all of the file is read.
                ended = [each for each in storing if each.called]
                storing = [each for each in storing if not each.called]
                await all_fired(ended)
                slab = await self._plaintext.take()
                part = await self._name(slab, group, start)
                if isinstance(part, Trouble):
                    self._plaintext.put_back(slab)
                    await all_fired(storing)
                    await self._thread.call(self._recorder.give_up_large, number)
                    return part
                statuses.update((part.before, part.after))
                changing = len(statuses) > 1
                await self._sum_up(content, slab, part)
                storing.append(Deferred.fromCoroutine(self._keep(slab, number, part, meter)))
                start = part.stop
                if part.row is not None or (changing and not keep_changed):
                    break
            await all_fired(storing)
        except BaseException:
            await stop_all(storing)
            raise
        if changing and not keep_changed:
            await self._thread.call(self._recorder.give_up_large, number)
            return None
        if part.row is None:
            raise AssertionError("the last part brings the row")
        await sum_up_hole(self._checksums, content, start)
        checksum = await self._checksums.call(content.finish, start)
        row = part.row._replace(size=start)
        await self._thread.call(self._recorder.end_large, number, row, checksum)
        return LargeFileDone(start, changing)

    async def _name(self, slab: Slab, group: Group, start: int) -> NamedPart | Trouble:
        try:
            return await self._pool.run(name_part, slab.name, group, start)
        except BaseException:
            self._plaintext.put_back(slab)
            raise

    async def _sum_up(self, content: ContentChecksum, slab: Slab, part: NamedPart) -> None:
        try:
            pieces = [(at, slab.view[offset : offset + size]) for at, offset, size in part.ranges]
            await sum_up(self._checksums, content, pieces)
        except BaseException:
            self._plaintext.put_back(slab)
            raise

    async def _keep(self, slab: Slab, number: int, part: NamedPart, meter: Meter) -> None:
        record = partial(self._recorder.record_part, number, part.pieces, part.extents)
        await self._sender.send(slab, part.pieces, meter, record)
