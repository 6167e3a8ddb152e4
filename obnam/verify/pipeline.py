"""The way of the data when nothing is written: fetch; open and check in the pool.

The parts of a large file are opened side by side, but summed up one after another, since a
checksum goes through a file from its start to its end.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock

from obnam.model.entry import printable
from obnam.pool.check_files import Checked, OpenedPart, check_files, open_part
from obnam.pool.checksum import ContentChecksum
from obnam.pool.open_chunks import SealedChunk
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.slabs import Slab
from obnam.pool.sum_up import sum_up, sum_up_hole
from obnam.pool.thread import OwnThread
from obnam.pool.together import all_of
from obnam.pool.write_files import WRONG_CHECKSUM
from obnam.progress import IProgress
from obnam.restore.fetch import fetch_sealed
from obnam.restore.notes import Notes
from obnam.restore.plan import SLAB_BYTES, Neighbourhood, Part, Work, find_entry
from obnam.restore.tree import Parts, Problem, path_of
from obnam.verify.settings import Verified
from obnam.wire.interfaces import IChunks

LANES = 6
SLABS = 5
"""As in a restore; each slab has room for the plaintext of a large file's part too."""


@define(eq=False)
class _LargeFile:
    """A file whose parts are summed up in turn."""

    turn: DeferredLock = field(factory=DeferredLock)
    content: ContentChecksum = field(factory=ContentChecksum)
    trouble: str | None = None


class _Pulled(NamedTuple):
    """Work for a lane, with the file that a part is of; no work: no more."""

    work: Problem | Neighbourhood | Part | None
    large: _LargeFile


@define
class Pipeline:
    """Checks what a plan names. Damaged files are noted as aside."""

    _repository: IChunks
    _pool: IPool
    _thread: OwnThread
    _notes: Notes
    _checksums: OwnThread
    _progress: IProgress
    _counts: Verified
    _rack: SlabRack = field(init=False, factory=lambda: SlabRack(SLABS, 2 * SLAB_BYTES))
    _newest: _LargeFile = field(init=False, factory=_LargeFile)
    _stopping: bool = field(init=False, default=False)

    async def run(self, work: Iterator[Work]) -> None:
        """Do all of it. Nothing is under way when this returns or raises."""
        try:
            await all_of([self._lane(work) for _ in range(LANES)])
        finally:
            await self._pool.settled()

    def close(self) -> None:
        """Let go of the memory."""
        self._rack.close()

    async def _lane(self, work: Iterator[Work]) -> None:
        try:
            while not self._stopping:
                item, large = await self._thread.call(self._pull, work)
                if item is None:
                    return
                if isinstance(item, Problem):
                    self._warn(item.path, item.text)
                elif isinstance(item, Part):
                    await self._part(item, large)
                else:
                    await self._neighbourhood(item)
        except BaseException:
            self._stopping = True
            raise

    def _pull(self, work: Iterator[Work]) -> _Pulled:
        for item in work:
            if isinstance(item, Part) and item.first:
                self._newest = _LargeFile()
            if isinstance(item, Problem | Part | Neighbourhood):
                return _Pulled(item, self._newest)
        return _Pulled(None, self._newest)

    async def _neighbourhood(self, work: Neighbourhood) -> None:
        self._progress.expect(work.size_bytes)
        if work.chunks:
            slab = await self._rack.take()
            try:
                chunks = await fetch_sealed(self._repository, work.chunks, slab, SLAB_BYTES)
                checked: Checked = await self._pool.run(check_files, slab.name, chunks, work.groups)
            finally:
                self._rack.put_back(slab)
            self._count(chunks, checked.broken)
        else:
            checked = await self._pool.run(check_files, None, [], work.groups)
        for index, text in checked.troubles:
            parts, entry = find_entry(work.groups, index)
            await self._damaged(parts, entry.name, text)
        self._counts.files += work.file_count
        self._counts.size_bytes += work.size_bytes
        self._progress.advance(work.file_count, work.size_bytes)

    async def _part(self, part: Part, large: _LargeFile) -> None:
        # The turn first, and a slab at once: so who waits for a turn waits for one who has a slab.
        turn = large.turn.acquire()
        try:
            self._progress.expect(part.size_bytes)
            if part.problem is not None:
                large.trouble = part.problem
            elif large.trouble is None:
                slab = await self._rack.take()
                try:
                    await self._sum_up(part, large, slab, turn)
                finally:
                    self._rack.put_back(slab)
            await turn
            self._counts.size_bytes += part.size_bytes
            self._progress.advance(int(part.last), part.size_bytes)
            if part.last:
                await self._finish(part, large)
        finally:
            if turn.called:
                large.turn.release()
            else:
                turn.cancel()

    async def _sum_up(
        self, part: Part, large: _LargeFile, slab: Slab, turn: "Deferred[DeferredLock]"
    ) -> None:
        chunks = await fetch_sealed(self._repository, part.chunks, slab, SLAB_BYTES)
        opened: OpenedPart = await self._pool.run(open_part, slab.name, chunks, SLAB_BYTES)
        self._count(chunks, opened.broken)
        await turn
        if opened.trouble is not None:
            large.trouble = opened.trouble
        elif large.trouble is None:
            try:
                pieces = list(_pieces(slab.view, part, opened.places))
            except _TooShort as error:
                large.trouble = str(error)
            else:
                await sum_up(self._checksums, large.content, pieces)

    async def _finish(self, part: Part, large: _LargeFile) -> None:
        if large.trouble is None:
            await sum_up_hole(self._checksums, large.content, part.file.size)
            found = await self._checksums.call(large.content.finish, part.file.size)
            if found != part.file.checksum:
                large.trouble = WRONG_CHECKSUM
        if large.trouble is not None:
            await self._damaged(part.parts, part.file.name, large.trouble)
        self._counts.files += 1

    def _count(self, chunks: Sequence[SealedChunk], broken: Sequence[tuple[int, str]]) -> None:
        self._counts.chunks += len(chunks)
        missing = sum(not chunks[index].length for index, _ in broken)
        self._counts.missing_chunks += missing
        self._counts.damaged_chunks += len(broken) - missing

    async def _damaged(self, parts: Parts, name: bytes, text: str) -> None:
        self._counts.damaged_files += 1
        self._warn(path_of((*parts, name)), text)
        await self._thread.call(self._notes.set_aside, parts, name)

    def _warn(self, path: bytes, text: str) -> None:
        self._counts.warnings += 1
        self._progress.warn(f"{printable(path)}: {text}")


class _TooShort(Exception):
    """A chunk ends before an extent in it."""


def _pieces(
    slab: memoryview, part: Part, places: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, memoryview]]:
    for position, chunk, start, length in part.extents:
        offset, available = places[chunk]
        if start + length > available:
            raise _TooShort(f"chunk {part.chunks[chunk].hex()} is shorter than it must be")
        yield position, slab[offset + start : offset + start + length]
