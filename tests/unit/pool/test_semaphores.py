"""Semaphores that processes left that are no more."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from obnam.live.left_behind import LEFT_BEHIND_S
from obnam.pool.semaphores import SEMAPHORES, remove_semaphores_left

PROGRAM = """\
from obnam.pool import launch
lock = launch.context().Lock()
print(lock._semlock.name)
"""


@pytest.fixture
def dead() -> int:
    """The id of a process that was."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_only_those_of_the_dead_are_removed_and_after_a_day(tmp_path: Path, dead: int) -> None:
    now_s = time.time()
    names = {f"sem.obnam-{dead}-a", f"sem.obnam-{os.getpid()}-b", f"sem.mp-{dead}", "sem.obnam-x"}
    for name in names:
        (tmp_path / name).touch()
    remove_semaphores_left(now_s, tmp_path)
    assert set(os.listdir(tmp_path)) == names
    remove_semaphores_left(now_s + LEFT_BEHIND_S + 60, tmp_path)
    assert set(os.listdir(tmp_path)) == names - {f"sem.obnam-{dead}-a"}
    remove_semaphores_left(now_s, tmp_path / "not there")


def test_ours_have_our_name() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.read().strip()
    assert name.startswith(f"/obnam-{process.pid}-")
    assert not Path(SEMAPHORES, f"sem.{name[1:]}").exists()
