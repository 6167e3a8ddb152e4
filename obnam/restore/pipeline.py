"""The way of the data: fetch; open, check and write in the pool.

A few lanes pull work from one plan, and slabs bound the bytes in flight: while some lanes' files
are written, the chunks of others are fetched. Directories are made, and large files begun, on the
thread that pulls, and so before any lane has work that needs them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from attrs import define, field

from obnam.live.apply import Missed
from obnam.live.begun import NewFile
from obnam.live.overwrite import Overwrite
from obnam.live.write import Target
from obnam.pool.open_chunks import SealedChunk
from obnam.pool.pool import IPool, WorkerDied
from obnam.pool.rack import SlabRack
from obnam.pool.thread import OwnThread
from obnam.pool.together import all_of
from obnam.pool.write_files import (
    FAILURES,
    FileToWrite,
    Group,
    Written,
    finish_file,
    why,
    write_files,
    write_part,
)
from obnam.restore.fetch import fetch_sealed
from obnam.restore.half_written import half_written
from obnam.restore.notes import Notes
from obnam.restore.plan import SLAB_BYTES, Neighbourhood, Part, Work, find_entry
from obnam.restore.report import Report
from obnam.restore.tree import Directory, Parts, Problem, path_of
from obnam.wire.interfaces import IChunks

LANES = 6
SLABS = 5
"""Two workers write, and for each of them a slab is full already; more is no faster."""

PROBLEMS_AT_ONCE = 1000


@define(eq=False)
class LargeFile:
    """A file that is written part by part. ``new`` is ``None`` when it is not to be written.

    ``descriptor``: it is kept open here until it is done, see `NewFile`. ``pulled`` parts have come
    from the plan (counted on its thread), ``done`` are those that a lane is through with (counted
    on the reactor's).
    """

    parts: Parts
    entry: FileToWrite
    new: NewFile | None = None
    descriptor: int = -1
    kept: bool = False
    trouble: str | None = None
    pulled: int = 0
    all_pulled: bool = False
    done: int = 0


class Pulled(NamedTuple):
    """Work for a lane, if any, and what went wrong on the way to it; ``ended``: no more."""

    work: Neighbourhood | Part | None
    large: LargeFile | None
    problems: list[Problem]
    ended: bool = False


@define
class Pipeline:
    """Does the work of a plan."""

    _repository: IChunks
    _pool: IPool
    _thread: OwnThread
    _target: Target
    _notes: Notes
    _report: Report
    _rack: SlabRack = field(init=False, factory=lambda: SlabRack(SLABS, SLAB_BYTES))
    _large: set[LargeFile] = field(init=False, factory=set)
    _newest: LargeFile | None = field(init=False, default=None)
    _writing: dict[int, list[Group]] = field(init=False, factory=dict)
    _stopping: bool = field(init=False, default=False)

    async def run(self, work: Iterator[Work]) -> None:
        """Do all of it. Nothing is under way when this returns or raises."""
        try:
            await all_of([self._lane(work) for _ in range(LANES)])
        except WorkerDied:
            await self._pool.settled()
            await self._tell_half_written()
            raise
        finally:
            # A lane that was stopped may have left a job to a worker, which writes to such a file.
            try:
                await self._pool.settled()
            finally:  # A signal while it is waited for.
                await self._thread.call(self._abandon_all)

    async def _tell_half_written(self) -> None:
        jobs = list(self._writing.values())
        paths, total = await self._thread.call(half_written, self._target, jobs)
        for path in paths:
            self._report.warn(path, "half of it may be there: a worker died that was to write it")
        if total > len(paths):
            self._report.warn(paths[-1], f"and so for {total - len(paths)} more of its files")

    def close(self) -> None:
        """Let go of the memory."""
        self._rack.close()

    async def _lane(self, work: Iterator[Work]) -> None:
        try:
            while not self._stopping:
                pulled = await self._thread.call(self._pull, work)
                for problem in pulled.problems:
                    self._report.not_restored(problem.path, problem.text)
                if isinstance(pulled.work, Neighbourhood):
                    await self._neighbourhood(pulled.work)
                elif isinstance(pulled.work, Part) and pulled.large is not None:
                    await self._part(pulled.work, pulled.large)
                if pulled.ended:
                    return
        except BaseException:
            self._stopping = True
            raise

    # On the thread that owns the generation

    def _pull(self, work: Iterator[Work]) -> Pulled:
        problems: list[Problem] = []
        for item in work:
            if isinstance(item, Directory):
                problem = self._make_directory(item)
                if problem is not None:
                    problems.append(problem)
            elif isinstance(item, Problem):
                problems.append(item)
            elif isinstance(item, Part):
                return Pulled(item, self._large_file(item), problems)
            else:
                return Pulled(item, None, problems)
            if len(problems) == PROBLEMS_AT_ONCE:
                return Pulled(None, None, problems)
        return Pulled(None, None, problems, ended=True)

    def _make_directory(self, directory: Directory) -> Problem | None:
        parts, row = directory
        try:
            # What only leads to what is wanted was not asked for: nothing there makes room for it.
            new = bool(parts) and self._target.make_directory(parts, replace=row is not None)
        except FAILURES as error:
            text = why(error, self._target.ticket)
            if row is None and isinstance(error, FileExistsError):
                text += "; restore into another directory, and move it from there"
            return Problem(path_of(parts), text)
        if new or row is not None:
            self._notes.made(directory)
        return None

    def _large_file(self, part: Part) -> LargeFile:
        if part.first or self._newest is None:
            self._newest = self._begin(part)
        self._newest.pulled += 1
        self._newest.all_pulled = part.last
        return self._newest

    def _begin(self, part: Part) -> LargeFile:
        parts, entry = part.parts, part.file
        large = LargeFile(parts, entry)
        try:
            begun = self._target.create(parts, entry.name, entry.size, entry.mtime_ns)
            if begun is None:
                large.kept = True
                return large
            large.new, large.descriptor = begun
            self._large.add(large)
            os.ftruncate(large.descriptor, entry.size)
        except FAILURES as error:
            large.trouble = why(error, self._target.ticket)
        return large

    def _abandon(self, large: LargeFile) -> None:
        """Remove what was written of a file. Harmless when it is gone already."""
        if large in self._large and large.new is not None:
            self._large.discard(large)
            with suppress(OSError):
                self._target.abandon(large.new, large.descriptor)

    def _let_go(self, large: LargeFile) -> None:
        """Close a file that is done. Nothing was written by this descriptor, so nothing is lost."""
        with suppress(OSError):
            os.close(large.descriptor)

    def _abandon_all(self) -> None:
        for large in list(self._large):
            self._abandon(large)

    def _set_aside(self, entries: Sequence[tuple[Parts, bytes]]) -> None:
        for parts, name in entries:
            self._notes.set_aside(parts, name)

    # On the reactor's thread

    async def _neighbourhood(self, work: Neighbourhood) -> None:
        self._report.progress.expect(work.size_bytes)
        if work.chunks:
            slab = await self._rack.take()
            try:
                chunks = await fetch_sealed(self._repository, work.chunks, slab, SLAB_BYTES)
                written = await self._write(slab.name, chunks, work)
            finally:
                self._rack.put_back(slab)
        else:
            written = await self._write(None, [], work)
        await self._account(work, written)

    async def _write(
        self, slab_name: str | None, chunks: list[SealedChunk], work: Neighbourhood
    ) -> Written:
        groups = work.groups
        self._writing[id(groups)] = groups
        written: Written = await self._pool.run(
            write_files, slab_name, chunks, groups, self._target.ticket
        )
        del self._writing[id(groups)]
        return written

    async def _account(self, work: Neighbourhood, written: Written) -> None:
        counts = self._report.counts
        files, others = work.file_count, work.entry_count - work.file_count
        size_bytes = work.size_bytes
        aside: list[tuple[Parts, bytes]] = []
        for index, text in (*written.troubles, *((index, "") for index in written.kept)):
            parts, entry = find_entry(work.groups, index)
            if isinstance(entry, FileToWrite):
                files -= 1
                size_bytes -= entry.size
            else:
                others -= 1
            if text:
                self._report.not_restored(path_of((*parts, entry.name)), text)
            else:
                counts.kept += 1
            if text or self._keeps_anything:
                aside.append((parts, entry.name))
        for index, missed in written.missed:
            parts, entry = find_entry(work.groups, index)
            self._report.missed(path_of((*parts, entry.name)), missed)
        counts.files += files
        counts.others += others
        counts.size_bytes += size_bytes
        if aside:
            await self._thread.call(self._set_aside, aside)
        self._report.progress.advance(work.entry_count, work.size_bytes)

    async def _part(self, part: Part, large: LargeFile) -> None:
        self._report.progress.expect(part.size_bytes)
        if part.problem is not None:
            large.trouble = part.problem
        elif large.new is not None and large.trouble is None:
            slab = await self._rack.take()
            try:
                chunks = await fetch_sealed(self._repository, part.chunks, slab, SLAB_BYTES)
                trouble: str | None = await self._pool.run(
                    write_part, slab.name, chunks, part.extents, self._target.ticket, large.new
                )
            finally:
                self._rack.put_back(slab)
            if trouble is not None:
                large.trouble = trouble
        large.done += 1
        self._report.progress.advance(0, part.size_bytes)
        if large.all_pulled and large.done == large.pulled:
            await self._finish(large)

    async def _finish(self, large: LargeFile) -> None:
        path = path_of((*large.parts, large.entry.name))
        if large.trouble is None and large.new is not None:
            done: Missed | str = await self._pool.run(
                finish_file, self._target.ticket, large.new, large.entry
            )
            if isinstance(done, str):
                large.trouble = done
            else:
                self._report.missed(path, done)
                self._report.counts.files += 1
                self._report.counts.size_bytes += large.entry.size
                self._large.discard(large)
                await self._thread.call(self._let_go, large)
        if large.kept:
            self._report.counts.kept += 1
        if large.trouble is not None:
            self._report.not_restored(path, large.trouble)
            await self._thread.call(self._abandon, large)
        if large.trouble is not None or (large.kept and self._keeps_anything):
            await self._thread.call(self._set_aside, [(large.parts, large.entry.name)])
        self._report.progress.advance(1, 0)

    @property
    def _keeps_anything(self) -> bool:
        """Whether what is kept may be something else than what is in the generation."""
        return self._target.ticket.overwrite is Overwrite.NEVER
