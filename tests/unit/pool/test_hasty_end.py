"""Clients that end while they start workers, or are killed: nobody is left, nothing, nor a word."""

import json
import os
import signal
import subprocess
import sys
from multiprocessing import forkserver, reduction
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor

from obnam.crypto.envelope import Compression
from obnam.crypto.seal import best_suite
from obnam.pool import launch
from obnam.pool.pool import ProcessPool, WorkerDied
from tests.unit.pool import hasty_end, odd_jobs
from tests.unit.pool.bench import KEYS

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor


def run(program: str, *arguments: str, temporary: Path) -> "subprocess.CompletedProcess[str]":
    """To the end of all that it started: each has the other end of our pipes."""
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TMPDIR": str(temporary)},
    )


@pytest.mark.parametrize("how", ["connected", "asked", "half", "told"])
def test_a_client_that_ends_while_a_worker_is_started(how: str, tmp_path: Path) -> None:
    ended = run(hasty_end.__name__, how, temporary=tmp_path)
    assert ended.returncode == 0
    assert ended.stderr == ""
    semaphores = json.loads(ended.stdout)
    assert len(semaphores) > 0
    assert not set(os.listdir("/dev/shm")) & set(semaphores)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_while_the_client_lives_is_told(tmp_path: Path) -> None:
    ended = run(hasty_end.__name__, "alive", temporary=tmp_path)
    assert "FileNotFoundError" in ended.stderr


def test_a_client_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    ended = run(odd_jobs.__name__, "killed", temporary=tmp_path)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_ends_well_leaves_nothing(tmp_path: Path) -> None:
    ended = run(odd_jobs.__name__, "close", temporary=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def fork_server() -> int:
    """Its process id; it is started if need be."""
    launch.context()
    running: Any = forkserver
    pid: int = running._forkserver._forkserver_pid
    return pid


@ensure
async def test_a_fork_server_that_dies_is_started_again() -> None:
    pid = fork_server()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    pool = ProcessPool(reactor, 1, KEYS, best_suite(), Compression(1))
    assert (await pool.run(odd_jobs.tell, 1))[2] == (1,)
    assert fork_server() != pid
    pool.close()


@ensure
async def test_a_fork_server_that_dies_while_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as if the worker had died; what comes next fails too, and nothing hangs."""
    pid = fork_server()
    pool = ProcessPool(reactor, 1, KEYS, best_suite(), Compression(1))
    send = reduction.sendfds

    def send_to_the_dying(*arguments: Any) -> None:
        os.kill(pid, signal.SIGKILL)
        send(*arguments)

    monkeypatch.setattr(reduction, "sendfds", send_to_the_dying)
    for _ in range(2):
        with pytest.raises(WorkerDied):
            await pool.run(odd_jobs.tell)
    await pool.settled()
    pool.close()
