"""The whole order of a restore, on one screen."""

from collections.abc import Iterator
from pathlib import Path

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from obnam.generation.local import LocalGeneration
from obnam.live.target import prepare_target
from obnam.live.write import Target
from obnam.pool.pool import IPool
from obnam.pool.thread import OwnThread
from obnam.progress import IProgress
from obnam.repository.generations import Generations
from obnam.restore.afterwards import Afterwards, all_but_aside, all_but_followers
from obnam.restore.notes import Notes
from obnam.restore.pipeline import Pipeline
from obnam.restore.plan import Neighbourhood, Part, Plan, Work
from obnam.restore.report import Report
from obnam.restore.settings import Restored, RestoreSettings
from obnam.restore.tree import Directory, Entries, Problem, Tree, select
from obnam.wire.interfaces import IRepository


@define
class Restore:
    """One run of ``obnam restore``: what it works with, and its order."""

    clock: IReactorTime
    repository: IRepository
    generations: Generations
    pool: IPool
    thread: OwnThread
    progress: IProgress
    settings: RestoreSettings
    _report: Report = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._report = Report(self.progress)

    async def run(self) -> Restored:
        """Restore what is asked for; of a dry run, count it.

        Raises `UnknownPath` and `BadTarget` before anything is written, `TargetFull`,
        `DamagedGeneration`, and what the repository raises.
        """
        began_s = self.clock.seconds()
        self.progress.stage("generation")
        opened = await self.generations.get(self.settings.generation)
        path = await self.generations.database(opened)
        try:
            generation = await self.thread.call(LocalGeneration, path)
            try:
                await self._restore(generation)
            finally:
                await self.thread.call(generation.close)
        finally:
            await self.thread.call(Path.unlink, path)
        self._report.counts.duration_s = self.clock.seconds() - began_s
        return self._report.counts

    async def _restore(self, generation: LocalGeneration) -> None:
        tree = Tree(generation, select(self.settings.paths))
        await self.thread.call(tree.check, self.settings.paths)
        if self.settings.dry_run:
            self.progress.stage("dry run")
            await self.thread.call(self._count, _work(generation, tree.entries()))
            return
        ticket = await self.thread.call(
            prepare_target, self.settings.target, self.settings.overwrite
        )
        notes = await self.thread.call(Notes)
        target = await self.thread.call(Target.join, ticket)
        pipeline = Pipeline(self.repository, self.pool, self.thread, target, notes, self._report)
        afterwards = Afterwards(self.pool, self.thread, target, notes, self._report)
        try:
            self.progress.stage("restore")
            entries = all_but_followers(tree.entries(), notes)
            await pipeline.run(_work(generation, entries))
            copies = await afterwards.link(generation)
            await pipeline.run(_work(generation, copies))
            await afterwards.finish_directories()
            if self.settings.verify:
                self.progress.stage("verify")
                written = all_but_aside(tree.entries(), notes)
                await afterwards.read_back(_work(generation, written))
            self._report.sum_up()
        finally:
            pipeline.close()
            await self.thread.call(target.close)
            await self.thread.call(notes.close)

    def _count(self, work: Iterator[Work]) -> None:
        counts = self._report.counts
        for item in work:
            if isinstance(item, Directory):
                counts.directories += item.row is not None
            elif isinstance(item, Problem):
                self._report.not_restored(item.path, item.text)
            elif isinstance(item, Neighbourhood):
                counts.files += item.file_count
                counts.others += item.entry_count - item.file_count
                counts.size_bytes += item.size_bytes
            elif isinstance(item, Part):
                counts.files += item.first
                counts.size_bytes += item.size_bytes


def _work(
    generation: LocalGeneration, entries: Iterator[Directory | Entries | Problem]
) -> Iterator[Work]:
    return Plan(generation.read_extents, generation.chunk).work(entries)
