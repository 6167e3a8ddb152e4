"""The whole order of a verification: all that is needed for a restore is fetched and checked."""

from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define
from twisted.internet.interfaces import IReactorTime

from obnam.generation.local import LocalGeneration
from obnam.model.entry import printable
from obnam.pool.pool import IPool
from obnam.pool.thread import OwnThread
from obnam.progress import IProgress
from obnam.repository.generations import Generations
from obnam.restore.notes import Notes
from obnam.restore.plan import Neighbourhood, Part, Plan, Work
from obnam.restore.tree import Tree, path_of
from obnam.verify.names import DamagedNames, EachFileOnce, damaged_names
from obnam.verify.pipeline import Pipeline
from obnam.verify.settings import Verified, VerifySettings
from obnam.wire.interfaces import IRepository


@define
class Verify:
    """One run of ``obnam verify``. ``random`` gives numbers from 0 to 1, for samples."""

    clock: IReactorTime
    repository: IRepository
    generations: Generations
    pool: IPool
    thread: OwnThread
    checksums: OwnThread
    random: Callable[[], float]
    progress: IProgress
    settings: VerifySettings

    async def run(self) -> Verified:
        """Check the generation; damage is told and counted.

        Raises `DamagedGeneration` when its database is damaged, and what the repository raises.
        """
        began_s = self.clock.seconds()
        self.progress.stage("generation")
        opened = await self.generations.get(self.settings.generation)
        path = await self.generations.database(opened)
        counts = Verified()
        try:
            generation = await self.thread.call(LocalGeneration, path)
            try:
                self.progress.stage("verify")
                await self._verify(generation, counts)
            finally:
                await self.thread.call(generation.close)
        finally:
            await self.thread.call(Path.unlink, path)
        counts.duration_s = self.clock.seconds() - began_s
        return counts

    async def _verify(self, generation: LocalGeneration, counts: Verified) -> None:
        notes = await self.thread.call(Notes)
        pipeline = Pipeline(
            self.repository, self.pool, self.thread, notes, self.checksums, self.progress, counts
        )
        plan = Plan(generation.read_extents, generation.chunk)
        once = EachFileOnce(generation, notes)
        try:
            await pipeline.run(self._sample(plan.work(once.of(Tree(generation).entries()))))
            damaged = DamagedNames(0, [])
            if counts.damaged_files:
                damaged = await self.thread.call(damaged_names, notes)
            self._tell(damaged, counts)
            # Of a sample, nobody knows which of the others was the first; but it was of these.
            everything = self.settings.sample_percent >= 100
            counts.files += once.names if everything else damaged.total
        finally:
            pipeline.close()
            await self.thread.call(notes.close)

    def _tell(self, damaged: DamagedNames, counts: Verified) -> None:
        """Say that files are damaged under their other names, too."""
        counts.damaged_files += damaged.total
        lines = [
            f"{printable(path_of(name))}: damaged, as {printable(path_of(first))} is: both are "
            f"names of one file"
            for name, first in damaged.first
        ]
        left = damaged.total - len(lines)
        if left:
            lines.append(f"{left} more names of damaged files: damaged, too")
        for line in lines:
            counts.warnings += 1
            self.progress.warn(line)

    def _sample(self, work: Iterator[Work]) -> Iterator[Work]:
        """Leave out what is not in the sample: whole neighbourhoods, and whole large files."""
        share = self.settings.sample_percent / 100
        chosen = True
        for item in work:
            if isinstance(item, Neighbourhood) or (isinstance(item, Part) and item.first):
                chosen = share >= 1 or self.random() < share
            if chosen or not isinstance(item, Neighbourhood | Part):
                yield item
