"""Upkeep that is asked for: now, and not in the next round. It may take long."""

from obnam.model.ids import parse_repository_name
from obnam.wire.members import Json
from obnam_server.administration.operation import Access, Arguments, LongOperation
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.check import check
from obnam_server.upkeep.collect import plan
from obnam_server.upkeep.compact import Compacted, compact
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.scrub import Scrubbed, scrub_all
from obnam_server.work import Work


async def show_dead(store: Store, work: Work, pace: Pace, arguments: Arguments) -> Json:
    """What no generation of a ``repository`` needs, and what compaction would give back of it."""
    repository = await _repository(store, work, arguments)
    shares = await work.background(repository.collection.shares)
    chosen = plan(shares, store.now_ns())
    return {
        "segments": len(shares),
        "size_bytes": sum(each.size_bytes for each in shares),
        "dead_bytes": chosen.dead_bytes,
        "to_be_freed_bytes": chosen.freed_bytes,
    }


async def compact_now(store: Store, work: Work, pace: Pace, arguments: Arguments) -> Json:
    """Compact a ``repository``."""
    repository = await _repository(store, work, arguments)
    progress = Compacted()
    await compact(repository, work, pace, store.now_ns(), progress)
    return {
        "groups": progress.groups,
        "done": progress.done,
        "left": progress.left,
        "dead_bytes": progress.dead_bytes,
        "freed_bytes": progress.freed_bytes,
    }


async def scrub_now(store: Store, work: Work, pace: Pace, arguments: Arguments) -> Json:
    """Read all that a ``repository`` has, and note what is damaged."""
    repository = await _repository(store, work, arguments)
    progress = Scrubbed()
    await scrub_all(repository, work, pace, progress)
    return {
        "segments": progress.segments,
        "size_bytes": progress.size_bytes,
        "damaged": progress.damaged,
        "findings": progress.findings,
        "ended": progress.ended,
        "damaged_chunk_count": await work.background(repository.damaged_chunk_count),
    }


async def check_now(store: Store, work: Work, pace: Pace, arguments: Arguments) -> Json:
    """Whether segments, index and generations of a ``repository`` say the same."""
    return await _checked(store, work, arguments, repair=False)


async def repair_now(store: Store, work: Work, pace: Pace, arguments: Arguments) -> Json:
    """The same; what can be repaired is."""
    return await _checked(store, work, arguments, repair=True)


async def _checked(store: Store, work: Work, arguments: Arguments, *, repair: bool) -> Json:
    repository = await _repository(store, work, arguments)
    found = await check(repository, work, repair=repair)
    return {
        "findings": [
            {
                "what": each.what,
                "problem": each.problem,
                "repair": each.repair.value,
                "repaired": each.repaired,
                "line": str(each),
            }
            for each in found
        ]
    }


async def _repository(store: Store, work: Work, arguments: Arguments) -> RepositoryStore:
    name = arguments.parsed("repository", parse_repository_name)
    return await work.write(store.repository, name)


OPERATIONS = (
    LongOperation("collect", show_dead, Access.OPEN),
    LongOperation("compact", compact_now, Access.CHANGE),
    LongOperation("scrub", scrub_now, Access.CHANGE),
    LongOperation("check", check_now, Access.OPEN),
    LongOperation("repair", repair_now, Access.CHANGE),
)
