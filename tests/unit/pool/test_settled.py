"""Jobs that nobody wants any more, and when the last of them is over."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from obnam.crypto.envelope import Compression
from obnam.crypto.seal import best_suite
from obnam.pool.growing import GrowingPool
from obnam.pool.pool import ProcessPool, WorkerDied
from obnam.pool.slabs import Slab, make_slab
from obnam.pool.under_way import SETTLE_S, UnderWay
from tests.support.inline_pool import tools_of
from tests.unit.pool import odd_jobs
from tests.unit.pool.bench import KEYS
from tests.unit.pool.test_growing import Gate
from tests.unit.pool.test_pool import has_ended, is_over, processes_of

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    pool = ProcessPool(reactor, 2, KEYS, best_suite(), Compression(1))
    yield pool
    pool.close()


@define
class Held:
    """A slab, and jobs that write to it when told: their arguments, and how to tell."""

    slab: Slab
    fifo: Path
    _told: int

    def arguments(self, data: bytes) -> tuple[str, str, bytes]:
        return str(self.fifo), self.slab.name, data

    def tell_one(self) -> None:
        os.write(self._told, b"x")

    def holds(self, data: bytes) -> bool:
        return bytes(self.slab.view[: len(data)]) == data


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    told = os.open(fifo, os.O_RDWR)
    slab = make_slab(4096)
    yield Held(slab, fifo, told)
    slab.remove()
    os.close(told)


def test_who_waits_is_told_when_the_last_has_ended() -> None:
    clock = Clock()
    jobs = UnderWay(clock)
    assert jobs.settled().called
    jobs.begin()
    jobs.begin()
    waiting = [jobs.settled(), jobs.settled()]
    jobs.end()
    assert not any(each.called for each in waiting)
    jobs.end()
    assert all(each.called for each in waiting)
    assert jobs.settled().called
    assert clock.getDelayedCalls() == []
    assert not jobs.is_stuck


def test_nobody_waits_for_ever() -> None:
    clock = Clock()
    jobs = UnderWay(clock)
    jobs.begin()
    waiting = jobs.settled()
    clock.advance(SETTLE_S - 0.1)
    assert not waiting.called
    clock.advance(0.1)
    assert waiting.called
    assert jobs.is_stuck
    jobs.end()


@ensure
async def test_a_job_that_nobody_wants_is_waited_for(pool: ProcessPool, held: Held) -> None:
    await pool.run(odd_jobs.tell)
    unwanted = pool.run(odd_jobs.write_when_told, *held.arguments(b"late"))
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    settled = pool.settled()
    await pool.run(odd_jobs.tell)
    assert not settled.called
    assert not held.holds(b"late")
    held.tell_one()
    await settled
    assert held.holds(b"late")


@ensure
async def test_what_is_not_yet_handed_to_a_worker_is_dropped(pool: ProcessPool, held: Held) -> None:
    blocked = Gate()
    pool._submitting.submit(blocked, tools_of(KEYS))
    unwanted = pool.run(odd_jobs.write_when_told, *held.arguments(b"late"))
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    blocked.open()
    await pool.settled()
    assert not held.holds(b"late")
    assert pool._executor is None


@ensure
async def test_when_a_worker_dies_the_others_are_waited_for(pool: ProcessPool, held: Held) -> None:
    await gatherResults([pool.run(odd_jobs.tell) for _ in range(4)])
    processes = processes_of(pool)
    waiting = pool.run(odd_jobs.write_when_told, *held.arguments(b"late"))
    with pytest.raises(WorkerDied):
        await pool.run(odd_jobs.die)
    with pytest.raises(WorkerDied):
        await waiting
    await pool.settled()
    assert False not in [is_over(process) for process in processes]
    with pytest.raises(WorkerDied):
        await pool.run(odd_jobs.tell)
    await pool.settled()
    pool.close()
    pool.close()


@ensure
async def test_a_worker_that_hangs_is_killed_in_the_end(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, it would go on long after us, with whatever it was told to write."""
    monkeypatch.setattr("obnam.pool.under_way.SETTLE_S", 0.01)
    await pool.run(odd_jobs.tell)
    processes = processes_of(pool)
    hanging = pool.run(odd_jobs.stop)
    hanging.addErrback(lambda _: None)
    hanging.cancel()
    await pool.settled()
    assert True not in [is_over(process) for process in processes_of(pool)]
    pool.close()
    assert False not in [has_ended(process) for process in processes]


@ensure
async def test_a_job_in_this_process_is_waited_for(pool: ProcessPool) -> None:
    growing = GrowingPool(reactor, tools_of(KEYS), pool)
    gate = Gate()
    unwanted = growing.run(gate)
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    settled = growing.settled()
    assert not settled.called
    gate.open()
    await settled
    await growing.settled()
    growing.close()


@ensure
async def test_a_worker_that_dies_early_is_noticed_at_once(pool: ProcessPool, held: Held) -> None:
    """Not only when another one, which was there before it, is done with its job."""
    await pool.run(odd_jobs.tell)
    busy = pool.run(odd_jobs.write_when_told, *held.arguments(b"late"))
    with pytest.raises(WorkerDied):
        await pool.run(odd_jobs.die).addTimeout(20, reactor)
    with pytest.raises(WorkerDied):
        await busy
    assert not held.holds(b"late")


@ensure
async def test_a_worker_that_dies_in_the_middle_of_its_answer(pool: ProcessPool) -> None:
    """What is left of that is no answer, and nobody waits for the rest of it."""
    await gatherResults([pool.run(odd_jobs.tell) for _ in range(4)])
    processes = processes_of(pool)
    with pytest.raises(WorkerDied):
        await pool.run(odd_jobs.die_while_telling).addTimeout(20, reactor)
    with pytest.raises(WorkerDied):
        await pool.run(odd_jobs.tell)
    await pool.settled()
    assert False not in [is_over(process) for process in processes]
