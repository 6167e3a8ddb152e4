"""A worker process is killed in the middle of a command; the client lives, and ends well."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.computer import Computer, processes_of, tree
from tests.crash.world import PATIENCE_S, World
from tests.support import mortal_workers

BACKUP = [
    "name_bundle 1 SIGKILL before",
    "name_files 1 SIGKILL after",
    "name_part 2 SIGKILL before",
    "seal_pieces 1 SIGTERM before",
    "seal_pieces 2 SIGKILL after",
]
RESTORE = [
    ("write_files 1 SIGKILL before", False),
    ("write_part 2 SIGKILL after", False),
    ("finish_file 1 SIGKILL before", True),
    ("finish_file 1 SIGKILL after", True),
    ("read_back 1 SIGTERM before", False),
]
"""Job, its number, and signal; and whether something is replaced."""


def start(computer: Computer, fate: str, *arguments: str) -> "subprocess.Popen[str]":
    """``obnam``, one of whose workers gets a signal."""
    return subprocess.Popen(
        [sys.executable, str(Path(mortal_workers.__file__)), fate, *arguments],
        cwd=computer.folder,
        env=dict(computer.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_failed(computer: Computer, fate: str, *arguments: str) -> None:
    """One line says what happened; no process, no temporary file, and no half database is left."""
    process = start(computer, fate, *arguments)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (1, ""), err
    assert err.startswith("obnam: a worker process died")
    assert err.count("\n") == 1
    assert processes_of(computer) == []
    assert list((computer.folder / "tmp").iterdir()) == []
    assert list((computer.folder / ".cache").rglob("*.new")) == []


@pytest.mark.parametrize("fate", BACKUP)
def test_in_a_backup(world: World, fate: str) -> None:
    """What was acknowledged stays, nothing is committed, and the next backup does the rest."""
    world.write_tree(1000 + BACKUP.index(fate))
    before = world.generations()
    check_failed(world.computer, fate, "backup")
    assert world.generations() == before
    world.check_acknowledged()
    world.check_next_backup()


@pytest.fixture(scope="module")
def stored(world: World) -> World:
    """A world with something to get back."""
    world.write_tree(2000)
    world.computer.backup()
    return world


@pytest.fixture
def target(stored: World) -> Iterator[Path]:
    target = stored.computer.folder / "target"
    yield target
    shutil.rmtree(target)


@pytest.mark.parametrize(("fate", "replaces"), RESTORE)
def test_in_a_restore(stored: World, target: Path, fate: str, replaces: bool) -> None:
    """Each file that is there is as it was before, or is whole; and the rest can be had."""
    computer = stored.computer
    options = ["--verify"]
    top = target / computer.live.relative_to("/")
    if replaces:
        top.mkdir(parents=True)
        (top / "large").write_bytes(b"old")
        options += ["--overwrite", "always"]
    check_failed(computer, fate, "restore", "latest", str(target), *options)
    assert list(target.rglob(".obnam-*")) == []
    for path in top.rglob("*") if top.exists() else ():
        if path.is_file() and path.read_bytes() != b"old":
            assert path.read_bytes() == (computer.live / path.relative_to(top)).read_bytes()
    computer.obnam("restore", "latest", str(target), "--verify", "--overwrite", "if-changed")
    assert tree(top) == tree(computer.live)


def test_a_file_that_is_left_half_is_named(stored: World, target: Path) -> None:
    """It stands under its own name; and what the message says makes it whole.

    So are those of the other workers, which Python ends in the midst of what they do.
    """
    computer = stored.computer
    top = target / computer.live.relative_to("/")
    process = start(computer, "write_files 1 SIGKILL amid", "restore", "latest", str(target))
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (1, ""), err
    *named, last = err.splitlines()
    assert last.startswith("obnam: a worker process died")
    assert all("half of it may be there" in line for line in named)
    half = {
        path
        for path in top.rglob("*")
        if path.is_file()
        and path.read_bytes() != (computer.live / path.relative_to(top)).read_bytes()
    }
    assert half
    assert {target / line.split(": ")[2].lstrip("/") for line in named} == half
    assert processes_of(computer) == []
    computer.obnam("restore", "latest", str(target), "--verify", "--overwrite", "if-changed")
    assert tree(top) == tree(computer.live)


def test_in_a_verification(stored: World) -> None:
    check_failed(stored.computer, "open_part 2 SIGKILL after", "verify")
