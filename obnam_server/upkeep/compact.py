"""Compaction of a repository: the plan carried out, segment by segment, at its pace."""

from attrs import define
from twisted.logger import Logger

from obnam_server.store.errors import DamagedSegment
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.upkeep.compaction import Rewrite
from obnam_server.upkeep.collect import plan
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work

log = Logger()


@define
class Compacted:
    """What came of it so far. ``left``: groups left alone, because of damage or of new life."""

    groups: int = 0
    done: int = 0
    left: int = 0
    dead_bytes: int = 0
    freed_bytes: int = 0


async def compact(
    repository: RepositoryStore, work: Work, pace: Pace, now_ns: int, progress: Compacted
) -> None:
    """Collect and compact one repository; ``progress`` says how far it is.

    Raises `CollectionWaits`, `StoreFull`, `StoreFailed`; what was done until then stands.
    """
    await work.write(repository.change, repository.collection.forget_idle)
    chosen = plan(await work.background(repository.collection.shares), now_ns)
    progress.groups, progress.dead_bytes = len(chosen.groups), chosen.dead_bytes
    for group in chosen.groups:
        try:
            freed = await _replace(repository, work, pace, group)
        except DamagedSegment as error:
            # Scrub finds out which chunks it concerns; until then nothing is lost by waiting.
            log.warn("Compaction leaves {error}", error=error)
            freed = None
        if freed is None:
            progress.left += 1
        else:
            progress.done += 1
            progress.freed_bytes += freed


async def _replace(
    repository: RepositoryStore, work: Work, pace: Pace, group: tuple[SegmentNumber, ...]
) -> int | None:
    """Compact one group; the bytes that this freed, or ``None``: it was left alone."""
    rewrite = await work.background(repository.collection.rewrite, group)
    try:
        steps = rewrite.steps()
        while (size_bytes := await work.background(next, steps, None)) is not None:
            await pace.spend(size_bytes)
    except BaseException:
        await work.background(rewrite.abort)
        raise
    return await work.whole(_finish(repository, work, rewrite))


async def _finish(repository: RepositoryStore, work: Work, rewrite: Rewrite) -> int | None:
    """Begun, it comes to its end: a new segment that the index knows is not thrown away."""

    def replace() -> int | None:
        before = repository.used_bytes()
        done = repository.collection.replace(rewrite)
        return before - repository.used_bytes() if done else None

    try:
        return await work.write(repository.change, replace)
    finally:
        await work.background(rewrite.abort)
