"""A disk that is really full: a small file system in memory, which only one command sees."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ALONE = ("unshare", "--user", "--map-root-user", "--mount")
_RUN = """\
import sys
sys.path.append(sys.argv[1])
from tests.support.small_disk import run
sys.exit(run(*sys.argv[2:]))
"""


def can_mount() -> bool:
    """Whether this system lets us have one."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    return subprocess.run([*_ALONE, "true"], check=False, capture_output=True).returncode == 0


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


def mount(disk: Path, size: str) -> None:
    """Mount it."""
    options = f"size={size},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all room that there is; the file that has it."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path


def alone(program: str, *arguments: str) -> list[str]:
    """The command that runs the function ``MODULE:NAME`` with arguments, where it may mount."""
    module, _, name = program.partition(":")
    text = f"import sys; sys.path.append(sys.argv[1]); from {module} import {name}; "
    text += f"{name}(*sys.argv[2:])"
    return [*_ALONE, sys.executable, "-c", text, str(ROOT), *arguments]
