"""Upkeep by a server that lives as long as one command of its client: see `obnam.wire.lifeline`.

It makes no rounds. When its client has done what it came for, it does the tasks of a round, once a
day at most, as fast as it goes, for as long as it is given. Left off at any point, by the clock, a
signal or a power failure, the next one goes on from there: each change is whole, or is none.
"""

from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from obnam.errors import ObnamError
from obnam.wire.lifeline import Upkeep, UpkeepAsked
from obnam_server.store.errors import CollectionWaits
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.compact import Compacted, compact
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.retain import retain
from obnam_server.upkeep.retention import Fate
from obnam_server.upkeep.rounds import Rounds
from obnam_server.upkeep.scrub import Scrubbed, scrub_portion
from obnam_server.work import Work

BEGAN = "upkeep"
"""Under which name the time of the last one is noted."""

EVERY_S = 20 * 3600.0
"""It is due after this: once a day, also when that is a little earlier than the day before."""

SCRUB_EVERY_S = 24 * 3600.0
"""A portion of the scrub is for so long."""

log = Logger()


@define
class _Done:
    """What was done so far. ``retired``: generations into the trash, and out of it for good."""

    retired: tuple[int, int] = (0, 0)
    compactions: list[Compacted] = field(factory=list)
    scrubs: list[Scrubbed] = field(factory=list)
    warnings: list[str] = field(factory=list)
    remarks: list[str] = field(factory=list)

    def upkeep(self, *, left_off: bool) -> Upkeep:
        trashed, expunged = self.retired
        return Upkeep(
            trashed,
            expunged,
            max(0, sum(each.freed_bytes for each in self.compactions)),
            sum(each.size_bytes for each in self.scrubs),
            sum(each.damaged for each in self.scrubs),
            left_off,
            (*self.warnings, *(line for each in self.scrubs for line in each.findings)),
            tuple(self.remarks),
        )


@frozen
class BriefUpkeep:
    """Upkeep of all repositories of a store, in the turn of ``rounds``, which `Rounds.stop` ends.

    ``now_ns``: ns since the epoch.
    """

    _store: Store
    _work: Work
    _rounds: Rounds
    _clock: IReactorTime
    _now_ns: Callable[[], int]

    async def run(self, asked: UpkeepAsked) -> Upkeep:
        """Do what is due, and tell what was done. Cancelled, it leaves off in good order."""
        done = _Done()
        steps = Deferred.fromCoroutine(self._rounds.in_turn(self._all(done, asked.at_once)))
        steps.addTimeout(asked.limit_s, self._clock)
        try:
            await steps
        except TimeoutError:
            return done.upkeep(left_off=True)
        return done.upkeep(left_off=False)

    async def _all(self, done: _Done, at_once: bool) -> None:
        for name in await self._work.read(self._store.repositories):
            try:
                repository = await self._work.write(self._store.repository, name)
                due = await self._is_due(repository)
            except ObnamError as error:
                done.warnings.append(f"repository {name}: {error}")
                continue
            if due or at_once:
                await self._one(repository, done)

    async def _is_due(self, repository: RepositoryStore) -> bool:
        began_ns = (await self._work.read(repository.times)).get(BEGAN)
        now_ns = self._now_ns()
        if began_ns is None:
            # A new one, most likely. There is nothing in it to look after yet.
            await self._begin(repository)
            return False
        # Was the clock ahead? Then it is due as well: once too often does no harm.
        return not 0 <= now_ns - began_ns < EVERY_S * 1_000_000_000

    async def _begin(self, repository: RepositoryStore) -> None:
        now_ns = self._now_ns()
        await self._work.write(repository.change, repository.put_times, {BEGAN: now_ns})

    async def _one(self, repository: RepositoryStore, done: _Done) -> None:
        # Noted first: whoever has to leave off early every time is not kept waiting every time.
        await self._try(repository, "upkeep", self._begin(repository), done)
        await self._try(repository, "retention", self._retain(repository, done), done)
        await self._try(repository, "compaction", self._compact(repository, done), done)
        await self._try(repository, "scrub", self._scrub(repository, done), done)

    async def _try(
        self,
        repository: RepositoryStore,
        task: str,
        steps: Coroutine[Deferred[Any], Any, None],
        done: _Done,
    ) -> None:
        """Whatever becomes of one, the others have their turn: they may make room on the disk."""
        try:
            await steps
        except CancelledError:
            raise
        except CollectionWaits as waits:
            log.info("{waits}", waits=waits)  # It ends by itself: a backup was cut short.
        except ObnamError as error:
            done.warnings.append(f"{task} of repository {repository.name}: {error}")
        except Exception as error:
            log.failure("{task} of repository {name} failed", task=task, name=repository.name)
            done.warnings.append(f"{task} of repository {repository.name}: {error!r}")

    async def _retain(self, repository: RepositoryStore, done: _Done) -> None:
        plan = await retain(repository, self._work, self._now_ns())
        register = await self._work.background(repository.decisions.register)
        if plan is not None:
            trashed, expunged = done.retired
            done.retired = (
                trashed + len(plan.with_fate(Fate.GOES)),
                expunged + len(plan.with_fate(Fate.EXPUNGED)),
            )
            if plan.halted is not None and register.policy is not None:
                done.remarks.append(f"nothing is deleted: {plan.halted}")
        acknowledge = f"obnam-server --data-directory {self._store.data} alarm acknowledge"
        done.warnings += [
            f"generation {alarm.generation} of {client} is unlike the others: {alarm.mark.reason}. "
            f"Nothing of {client} is deleted until somebody has looked. If all is well: "
            f"{acknowledge} {repository.name} {client}"
            for client, alarm in register.alarms.items()
        ]

    async def _compact(self, repository: RepositoryStore, done: _Done) -> None:
        progress = Compacted()
        done.compactions.append(progress)
        await compact(repository, self._work, self._pace, self._now_ns(), progress)

    async def _scrub(self, repository: RepositoryStore, done: _Done) -> None:
        progress = Scrubbed()
        done.scrubs.append(progress)
        now_ns = self._now_ns()
        await scrub_portion(
            repository, self._work, self._pace, now_ns, progress, every_s=SCRUB_EVERY_S
        )

    @property
    def _pace(self) -> Pace:
        """Full: the only client has nothing else to do."""
        return Pace(self._clock, inf, lambda: False)
