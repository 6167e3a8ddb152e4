"""A disk that is really full: a small file system in memory, which only one command sees."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ALONE = ("unshare", "--user", "--map-root-user", "--mount")
_RUN = """\
import sys
sys.path.append(sys.argv[1])
from tests.support.small_disk import run
sys.exit(run(*sys.argv[2:]))
"""


def skip_without() -> None:
    """Skip the test that asks where this system does not let us have one."""
    programs = shutil.which("unshare") and shutil.which("mount")
    if not programs or subprocess.run([*_ALONE, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let us mount a small disk")


def on_small_disk(disk: Path, data: Path | None = None) -> list[str]:
    """What to put before a command that is to find a full disk at ``disk``, with a copy of a data
    directory as ``disk/data``. What is there afterwards is in ``DISK.after``.
    """
    copied = "" if data is None else str(data)
    return [*_ALONE, sys.executable, "-c", _RUN, str(ROOT), str(disk), copied]


def run(disk: str, data: str, *command: str) -> int:
    """Where nobody else sees what is mounted: do it, and give the exit code."""
    mount(Path(disk), "3m")
    if data:
        shutil.copytree(data, f"{disk}/data")
    fill(Path(disk))
    code = subprocess.run(command, check=False).returncode
    shutil.copytree(f"{disk}/data", f"{disk}.after")
    return code


def mount(disk: Path, size: str, *more: str) -> None:
    """Mount it, with more options of tmpfs."""
    options = ",".join((f"size={size}", "mode=700", *more))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all room that there is; the file that has it."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path


def run_alone(function: Callable[[str], None], folder: Path) -> None:
    """Call a function of a test module with a folder, in a process that may `mount`."""
    skip_without()
    text = "import sys; sys.path.append(sys.argv[1]); "
    text += f"from {function.__module__} import {function.__name__} as run; run(sys.argv[2])"
    command = [*_ALONE, sys.executable, "-c", text, str(ROOT), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
