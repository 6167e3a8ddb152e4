"""Upkeep that is asked for: now, and not in the next round. It may take long."""

from obnam.model.ids import parse_repository_name
from obnam.wire.members import Json
from obnam_server.administration.operation import Access, Arguments, LongOperation
from obnam_server.store.store import Store
from obnam_server.upkeep.collect import plan
from obnam_server.upkeep.compact import Compacted, compact
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work


async def show_dead(store: Store, work: Work, pace: Pace, arguments: Arguments) -> Json:
    """What no generation of a ``repository`` needs, and what compaction would give back of it."""
    name = arguments.parsed("repository", parse_repository_name)
    repository = await work.write(store.repository, name)
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
    name = arguments.parsed("repository", parse_repository_name)
    repository = await work.write(store.repository, name)
    progress = Compacted()
    await compact(repository, work, pace, store.now_ns(), progress)
    return {
        "groups": progress.groups,
        "done": progress.done,
        "left": progress.left,
        "dead_bytes": progress.dead_bytes,
        "freed_bytes": progress.freed_bytes,
    }


OPERATIONS = (
    LongOperation("collect", show_dead, Access.OPEN),
    LongOperation("compact", compact_now, Access.CHANGE),
)
