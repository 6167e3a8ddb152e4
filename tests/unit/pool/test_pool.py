"""The pool with real worker processes."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults

from obnam.crypto.envelope import Compression
from obnam.crypto.seal import best_suite
from obnam.errors import TargetFull
from obnam.pool.launch import start_method
from obnam.pool.pool import IPool, ProcessPool, WorkerDied
from obnam.pool.read_files import name_bundle
from obnam.pool.slabs import make_slab
from tests.support.inline_pool import InlinePool, tools_of
from tests.unit.pool import odd_jobs
from tests.unit.pool.bench import KEYS, SLAB_BYTES, Bench, group_of

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor
PATIENCE_MS = 20_000


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    pool = ProcessPool(reactor, 2, KEYS, best_suite(), Compression(1))
    yield pool
    processes = processes_of(pool)
    pool.close()
    for process in processes:
        assert has_ended(process)


def processes_of(pool: ProcessPool) -> list[int]:
    """Descriptors that become readable when a worker of the pool ends."""
    if pool._executor is None or pool._executor._processes is None:
        return []
    pids = [process.pid for process in pool._executor._processes.values() if process.pid]
    return [fd for pid in pids if (fd := opened(pid)) is not None]


def opened(pid: int) -> int | None:
    """A descriptor of a process that is there."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def has_ended(process: int, patience_ms: int = PATIENCE_MS) -> bool:
    """Wait for it."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    ended = bool(poll.poll(patience_ms))
    os.close(process)
    return ended


def is_over(process: int) -> bool:
    """Whether it has ended by now."""
    return has_ended(process, 0)


@ensure
async def test_jobs_are_done_elsewhere_with_our_keys(pool: ProcessPool) -> None:
    pid, fingerprint, words = await pool.run(odd_jobs.tell, b"a", 2)
    assert pid != os.getpid()
    assert fingerprint == KEYS.fingerprint
    assert words == (b"a", 2)


@ensure
async def test_an_error_comes_back_whole(pool: ProcessPool) -> None:
    with pytest.raises(TargetFull) as raised:
        await pool.run(odd_jobs.fail)
    assert raised.value.path == "/somewhere"


@ensure
async def test_what_is_large_goes_by_slab(pool: ProcessPool, tmp_path: Path) -> None:
    bench = Bench()
    (tmp_path / "file").write_bytes(b"content")
    named = await pool.run(name_bundle, bench.slab.name, [group_of(tmp_path, b"file")])
    assert bench.files(named) == {b"file": b"content"}
    bench.close()


@ensure
async def test_workers_are_not_misled_by_a_new_slab(pool: ProcessPool) -> None:
    """Each worker has mapped the first; the second has the same descriptor."""
    for data in (b"first", b"other"):
        slab = make_slab(SLAB_BYTES)
        jobs = [pool.run(odd_jobs.write_into, slab.name, data) for _ in range(8)]
        await gatherResults(jobs)
        assert bytes(slab.view[: len(data)]) == data
        slab.remove()


@ensure
async def test_a_worker_that_dies(pool: ProcessPool) -> None:
    # Both are there, and known to the executor: a process that dies in the moment in which it is
    # started is noticed only with the next job or result.
    await gatherResults([pool.run(odd_jobs.tell) for _ in range(4)])
    waiting = pool.run(odd_jobs.sleep, 60.0)
    with pytest.raises(WorkerDied) as raised:
        await pool.run(odd_jobs.die)
    assert raised.value.__cause__ is not None
    with pytest.raises(WorkerDied):  # those that others were doing are lost with it
        await waiting
    with pytest.raises(WorkerDied):  # and those that come later
        await pool.run(odd_jobs.tell)


@ensure
async def test_nothing_is_started_without_work(pool: ProcessPool) -> None:
    assert pool._executor is None
    pool.close()


@ensure
async def test_workers_may_be_there_before_the_work(pool: ProcessPool) -> None:
    pool.start()
    pool._submitting.submit(lambda: None).result()
    assert processes_of(pool)
    assert (await pool.run(odd_jobs.tell, 1))[2] == (1,)


@ensure
async def test_workers_that_rest_end_and_work_brings_others(pool: ProcessPool) -> None:
    pool.rest()  # nobody is there yet
    first, _, _ = await pool.run(odd_jobs.tell)
    resting = processes_of(pool)
    pool.rest()
    for process in resting:
        assert has_ended(process)
    second, _, _ = await pool.run(odd_jobs.tell)
    assert second != first
    pool.rest()
    pool.rest()


@ensure
async def test_an_answer_that_nobody_wants_any_more(pool: ProcessPool) -> None:
    unwanted = pool.run(odd_jobs.tell)
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    assert (await pool.run(odd_jobs.tell, 1))[2] == (1,)


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", odd_jobs.__name__, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
    )


def workers_of(client: "subprocess.Popen[str]") -> list[int]:
    assert client.stdout is not None
    pids = {int(pid) for _ in range(2) for pid in client.stdout.readline().split()}
    return [fd for pid in pids if (fd := opened(pid)) is not None]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_client_that_is_killed(how: signal.Signals) -> None:
    with started("wait") as client:
        workers = workers_of(client)
        assert workers
        client.send_signal(how)
        client.wait()
        for worker in workers:
            assert has_ended(worker)
        # The fork server and all else that was started: each has the other end of our pipe.
        told, _ = client.communicate(timeout=PATIENCE_MS / 1000)
        assert told == ""


def test_close_leaves_no_process() -> None:
    with started("close") as client:
        # At its end, the last process that was started has ended: each has the pipe's other end.
        told, _ = client.communicate(timeout=PATIENCE_MS / 1000)
    assert told
    assert client.returncode == 0


@ensure
async def test_the_inline_pool_is_a_pool_too() -> None:
    pool = InlinePool(tools_of(KEYS))
    assert IPool.providedBy(pool)
    assert (await pool.run(odd_jobs.tell, 5))[2] == (5,)
    with pytest.raises(TargetFull):
        await pool.run(odd_jobs.fail)
    assert pool.jobs == ["tell", "fail"]
    pool.close()
    assert pool.closed


def test_the_way_workers_start_fits_the_temporary_directory() -> None:
    assert start_method("/tmp") == "forkserver"
    assert start_method("/" + "long/" * 30) == "spawn"


@ensure
async def test_workers_start_below_a_long_temporary_directory(
    pool: ProcessPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    _, fingerprint, _ = await pool.run(odd_jobs.tell)
    assert fingerprint == KEYS.fingerprint
