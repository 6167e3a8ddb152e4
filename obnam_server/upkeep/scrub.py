"""The scrub of a repository, portion by portion, at its pace."""

from math import ceil

from attrs import define, field
from twisted.logger import Logger

from obnam_server.store.errors import CollectionWaits
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import ScrubPass
from obnam_server.store.segments.format import name_of
from obnam_server.store.upkeep.segment_check import SegmentCheck
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work

log = Logger()

PERIOD_S = 30 * 24 * 3600.0
"""All that is stored is read once in so long, unless said otherwise."""

PORTION_S = 3600.0
"""How often a portion is read, unless said otherwise."""

FINDINGS_MAX = 1000
"""Lines on what is wrong that are kept; all of them are logged."""


@define
class Scrubbed:
    """What came of it so far. ``findings``: lines on what is wrong; ``ended``: the pass is over."""

    segments: int = 0
    size_bytes: int = 0
    damaged: int = 0
    findings: list[str] = field(factory=list)
    ended: bool = False


def due_bytes(
    used_bytes: int,
    latest: ScrubPass | None,
    now_ns: int,
    period_s: float = PERIOD_S,
    every_s: float = PORTION_S,
) -> int:
    """How much a portion that begins now has to read; 0: nothing. ``now_ns``: since the epoch.

    A pass that lies behind, because the server was off, say, catches up.
    """
    done, elapsed_s = 0, 0.0
    if latest is not None:
        elapsed_s = max(0.0, (now_ns - latest.began_ns) / 1e9)
        if latest.ended_ns is None:
            done = latest.size_bytes
        elif elapsed_s < period_s:
            return 0
        else:
            elapsed_s = 0.0
    share = min(1.0, (elapsed_s + every_s) / period_s)
    due = ceil(used_bytes * share) - done
    # To its end, whatever was deleted meanwhile.
    return max(due, 1 if share == 1 else 0)


async def scrub_portion(
    repository: RepositoryStore,
    work: Work,
    pace: Pace,
    now_ns: int,
    progress: Scrubbed,
    period_s: float = PERIOD_S,
    every_s: float = PORTION_S,
) -> None:
    """Read what is due, whole segments; nothing when the last pass is younger than ``period_s``.

    To be called every ``every_s``. Raises `StoreFull`, `StoreFailed`; the next portion then begins
    with the same segment.
    """
    used_bytes = await work.background(repository.used_bytes)
    passes = (await work.background(repository.scrubbing.standing)).passes
    latest = passes[0] if passes else None
    due = due_bytes(used_bytes, latest, now_ns, period_s, every_s)
    if not due:
        return
    if latest is None or latest.ended_ns is not None:
        latest = await _begin(repository, work)
    await _run(repository, work, pace, latest, progress, due)


async def scrub_all(
    repository: RepositoryStore, work: Work, pace: Pace, progress: Scrubbed
) -> None:
    """Begin a new pass, and read everything now. Raises `StoreFull`, `StoreFailed`."""
    scrub = await _begin(repository, work)
    await _run(repository, work, pace, scrub, progress, None)


async def _begin(repository: RepositoryStore, work: Work) -> ScrubPass:
    await _forget(repository, work)
    return await work.write(repository.change, repository.scrubbing.begin)


async def _run(
    repository: RepositoryStore,
    work: Work,
    pace: Pace,
    scrub: ScrubPass,
    progress: Scrubbed,
    due: int | None,
) -> None:
    segment = scrub.segment
    while due is None or progress.size_bytes < due:
        check: SegmentCheck | None = await work.background(repository.scrubbing.check, segment)
        if check is None:
            await work.write(repository.change, repository.scrubbing.end, scrub)
            await _forget(repository, work)
            progress.ended = True
            return
        while size_bytes := await work.background(check.step):
            await pace.spend(size_bytes)
        checked = check.checked()
        noted = await work.write(repository.change, repository.scrubbing.note, scrub, checked)
        segment = checked.segment
        progress.segments += 1
        progress.size_bytes += checked.size_bytes
        progress.damaged += len(noted.damaged)
        name = name_of(segment)
        if noted.damaged:
            _found(repository, progress, f"segment {name}: {len(noted.damaged)} chunks are damaged")
        if noted.problem is not None:
            _found(repository, progress, f"segment {name}: {noted.problem}")
        if not noted.current:
            return  # Somebody else is ahead of us, in this pass or in a newer one.


def _found(repository: RepositoryStore, progress: Scrubbed, line: str) -> None:
    log.warn("Repository {name}: {line}", name=repository.name, line=line)
    if len(progress.findings) < FINDINGS_MAX:
        progress.findings.append(line)


async def _forget(repository: RepositoryStore, work: Work) -> None:
    try:
        await work.write(repository.change, repository.collection.forget_damaged)
    except CollectionWaits as waits:
        log.debug("{waits}", waits=waits)
