"""What is still damaged on the server: which generations, and which of their files.

The server knows which chunks are damaged and which generations need them; the names of files
stand in the generation databases, which only who has the key can read.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from obnam.browse.listing import iso_time, local_time, name_to_json
from obnam.errors import DamagedGeneration, NotFound
from obnam.generation.usage import Usage
from obnam.model.entry import printable
from obnam.model.ids import ChunkId, GenerationId
from obnam.pool.thread import OwnThread
from obnam.repository.damage import each_damaged
from obnam.repository.generations import Generations
from obnam.wire.damage import DAMAGE_GENERATIONS_MAX, DamagedChunk
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import GenerationSummary

GENERATIONS_MAX = 100_000
"""Generations that are reported; a server could make up any number of them."""


@frozen
class GenerationDamage:
    """A generation that is not whole. ``chunks``: how many it lacks; ``files``: the paths of those
    with bytes in them; ``problem``: why they cannot be told, or not all of them.
    """

    summary: GenerationSummary
    chunks: int
    files: Sequence[bytes]
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        receipt = self.summary.receipt
        return {
            "generation": receipt.generation,
            "received": iso_time(receipt.received_ns),
            "client": self.summary.client,
            "chunks": self.chunks,
            "problem": self.problem,
            "files": [name_to_json(path) for path in self.files],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        receipt = self.summary.receipt
        when = local_time(receipt.received_ns)
        yield (
            f"{receipt.generation}  {when}  {self.summary.client}  "
            f"({self.chunks} chunks, {len(self.files)} files)"
        )
        if self.problem is not None:
            yield f"  {self.problem}"
        for path in self.files:
            yield f"  {printable(path)}"


@frozen
class DamageReport:
    """All that is damaged. ``more``: a chunk is needed by more generations than the server names;
    those are older than the named ones.
    """

    chunks: int
    generations: Sequence[GenerationDamage]
    more: bool

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "status": "DAMAGED" if self.chunks else "OK",
            "chunks": self.chunks,
            "more": self.more,
            "generations": [each.to_json() for each in self.generations],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        for each in self.generations:
            yield from each.lines()
        if self.more:
            yield (
                f"and older ones: of each chunk, the {DAMAGE_GENERATIONS_MAX} newest generations "
                f"that need it are named"
            )
        yield f"status: {'DAMAGED' if self.chunks else 'OK'}"
        yield f"damaged-chunks: {self.chunks}"


@define
class _Needs:
    """Which chunks each generation lacks; the ids of some of them may be lost, too."""

    chunks: int = 0
    more: bool = False
    known: dict[GenerationId, list[ChunkId]] = field(factory=dict)
    unknown: dict[GenerationId, int] = field(factory=dict)

    def take(self, chunk: DamagedChunk) -> None:
        self.chunks += 1
        self.more |= chunk.generation_count > len(chunk.generations)
        for generation in chunk.generations:
            if len(self.known) >= GENERATIONS_MAX and generation not in self.known:
                self.more = True
                continue
            known = self.known.setdefault(generation, [])
            if chunk.chunk_id is None:
                self.unknown[generation] = self.unknown.get(generation, 0) + 1
            else:
                known.append(chunk.chunk_id)


@define
class Damage:
    """Asks the server, and reads the databases of the generations concerned."""

    _repository: IRepository
    _generations: Generations
    _thread: OwnThread

    async def report(self, only: GenerationId | None = None) -> DamageReport:
        """What is damaged (in one generation), the newest generation first."""
        needs = _Needs()
        await each_damaged(self._repository, needs.take)
        found = []
        if needs.known:
            for listed in reversed(await self._repository.list_generations()):
                summary = listed.summary
                generation = summary.receipt.generation
                if generation in needs.known and only in (None, generation):
                    found.append(await self._look(summary, needs))
        if only is None:
            return DamageReport(needs.chunks, found, needs.more)
        return DamageReport(sum(each.chunks for each in found), found, more=False)

    async def _look(self, summary: GenerationSummary, needs: _Needs) -> GenerationDamage:
        generation = summary.receipt.generation
        ids, unknown = needs.known[generation], needs.unknown.get(generation, 0)
        problem = None
        if unknown:
            problem = f"files in {unknown} of the chunks: `obnam verify {generation}` finds them"
        files: Sequence[bytes] = ()
        try:
            opened = await self._generations.get(generation)
            path = await self._generations.database(opened)
            try:
                files, is_all = await self._thread.call(_files, path, ids)
            finally:
                await self._thread.call(Path.unlink, path)
            if not is_all:
                problem = f"and more files: `obnam verify {generation}` finds them"
        except NotFound:
            problem = "it was deleted meanwhile"
        except DamagedGeneration as error:
            problem = f"its list of files is damaged, too ({error.problem})"
        return GenerationDamage(summary, len(ids) + unknown, files, problem)


def _files(path: Path, ids: Sequence[ChunkId]) -> tuple[list[bytes], bool]:
    with closing(Usage(path, ids)) as usage:
        return usage.paths()
