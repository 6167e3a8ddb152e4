"""The pool that begins in this process, with real worker processes behind it."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults

from obnam.crypto.envelope import Compression
from obnam.crypto.seal import best_suite
from obnam.errors import TargetFull
from obnam.pool.growing import JOBS_HERE, WAITING_MAX, GrowingPool, are_for_workers
from obnam.pool.pool import IPool, ProcessPool, WorkerDied
from obnam.pool.worker import Tools
from tests.support.inline_pool import tools_of
from tests.unit.pool import odd_jobs
from tests.unit.pool.bench import KEYS

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor
PATIENCE_S = 20.0


@pytest.fixture
def workers() -> ProcessPool:
    return ProcessPool(reactor, 2, KEYS, best_suite(), Compression(1))


@pytest.fixture
def pool(workers: ProcessPool) -> Iterator[GrowingPool]:
    pool = GrowingPool(reactor, tools_of(KEYS), workers)
    yield pool
    pool.close()


def who(_: Tools) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


class Gate:
    """A job that lasts until it is opened: for a thread of this process."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, _: Tools) -> int:
        assert self._opened.wait(PATIENCE_S)
        return os.getpid()

    def open(self) -> None:
        self._opened.set()


def test_many_jobs_or_several_at_a_time_are_for_workers() -> None:
    assert not are_for_workers(1, 0)
    assert not are_for_workers(JOBS_HERE, WAITING_MAX)
    assert are_for_workers(JOBS_HERE + 1, 0)
    assert are_for_workers(4, WAITING_MAX + 1)


@ensure
async def test_the_first_jobs_are_done_here_by_one_thread(
    pool: GrowingPool, workers: ProcessPool
) -> None:
    assert IPool.providedBy(pool)
    _, fingerprint, words = await pool.run(odd_jobs.tell, b"a", 2)
    assert (fingerprint, words) == (KEYS.fingerprint, (b"a", 2))
    done = await gatherResults([pool.run(who) for _ in range(1 + WAITING_MAX)])
    assert {pid for pid, _ in done} == {os.getpid()}
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] != threading.get_ident()
    assert workers._executor is None


@ensure
async def test_an_error_comes_back_and_the_next_job_is_done(pool: GrowingPool) -> None:
    with pytest.raises(TargetFull):
        await pool.run(odd_jobs.fail)
    assert (await pool.run(odd_jobs.tell, 1))[2] == (1,)


@ensure
async def test_many_jobs_one_after_another_go_to_workers_in_the_end(
    pool: GrowingPool, workers: ProcessPool
) -> None:
    for _ in range(JOBS_HERE):
        assert (await pool.run(odd_jobs.tell))[0] == os.getpid()
    pids = {os.getpid()}
    while pids == {os.getpid()}:
        pids.add((await pool.run(odd_jobs.tell))[0])
    assert (await pool.run(odd_jobs.tell))[0] != os.getpid()


@ensure
async def test_what_waits_goes_to_workers_once_they_are_there(pool: GrowingPool) -> None:
    gate = Gate()
    first = pool.run(gate)
    later = await gatherResults([pool.run(odd_jobs.tell, n) for n in range(WAITING_MAX + 1)])
    assert [words for _, _, words in later] == [(n,) for n in range(WAITING_MAX + 1)]
    assert os.getpid() not in {pid for pid, _, _ in later}
    gate.open()
    assert await first == os.getpid()
    assert (await pool.run(odd_jobs.tell))[0] != os.getpid()


@ensure
async def test_when_much_is_expected_workers_do_it_all(pool: GrowingPool) -> None:
    pool.start()
    assert (await pool.run(odd_jobs.tell))[0] != os.getpid()


@ensure
async def test_workers_that_cannot_be_started_fail_what_waits_for_them(
    pool: GrowingPool, workers: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obnam.pool.worker.start", odd_jobs.start_badly)
    gate = Gate()
    first = pool.run(gate)
    waiting = [pool.run(odd_jobs.tell) for _ in range(WAITING_MAX + 1)]
    for each in waiting:
        with pytest.raises(WorkerDied):
            await each
    gate.open()
    assert await first == os.getpid()


@ensure
async def test_what_nobody_wants_any_more_is_not_begun(pool: GrowingPool) -> None:
    gate = Gate()
    first = pool.run(gate)
    begun: list[int] = []
    unwanted = pool.run(lambda tools: begun.append(1))
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    gate.open()
    await first
    assert (await pool.run(odd_jobs.tell, 1))[2] == (1,)
    assert begun == []


@ensure
async def test_what_nobody_wants_any_more_is_not_handed_over(
    pool: GrowingPool, workers: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[tuple[object, ...]] = []
    run = workers.run

    def noted(job: Any, *arguments: object) -> Any:
        handed_over.append(arguments)
        return run(job, *arguments)

    monkeypatch.setattr(workers, "run", noted)
    gate = Gate()
    first = pool.run(gate)
    unwanted = pool.run(odd_jobs.tell, "unwanted")
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    await gatherResults([pool.run(odd_jobs.tell, n) for n in range(WAITING_MAX + 1)])
    assert (0,) in handed_over
    assert ("unwanted",) not in handed_over
    gate.open()
    await first


@ensure
async def test_close_waits_for_the_job_under_way_and_drops_the_others(pool: GrowingPool) -> None:
    begun: list[str] = []
    gate = Gate()
    first = pool.run(gate)
    pool.run(lambda tools: begun.append("waiting"))
    threading.Timer(0, gate.open).start()
    pool.close()
    await first
    assert begun == []


@ensure
async def test_nothing_is_begun_after_close(pool: GrowingPool) -> None:
    await pool.run(odd_jobs.tell)
    pool.close()
    with pytest.raises(RuntimeError):
        await pool.run(odd_jobs.tell)
