"""The directory of an embedded server's socket, and what killed processes left beside it."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from obnam.errors import EmbeddedServerFailed
from obnam.live.left_behind import LEFT_BEHIND_S
from obnam.repository.private import (
    LOCK,
    PREFIX,
    PrivateDirectory,
    make_private,
    remove_directories_left,
)

DATA = Path("/data")


@pytest.fixture
def later() -> float:
    """A time at which what is made now has been there for long."""
    return time.time() + LEFT_BEHIND_S + 60


def made(parent: Path) -> PrivateDirectory:
    return make_private(DATA, [parent], time.time())


def left_by_the_dead(parent: Path) -> Path:
    private = made(parent)
    os.close(private.lock)
    (private.path / "socket").touch()
    return private.path


def test_what_the_dead_left_is_removed_after_a_day(tmp_path: Path, later: float) -> None:
    left = left_by_the_dead(tmp_path)
    empty = tmp_path / f"{PREFIX}empty"
    empty.mkdir()
    remove_directories_left(tmp_path, time.time())
    assert left.exists()
    assert empty.exists()
    remove_directories_left(tmp_path, later)
    assert list(tmp_path.iterdir()) == []


def test_who_makes_one_cleans_up_first(tmp_path: Path, later: float) -> None:
    left = left_by_the_dead(tmp_path)
    private = make_private(DATA, [tmp_path], later)
    assert list(tmp_path.iterdir()) == [private.path]
    private.remove()
    assert list(tmp_path.iterdir()) == []
    assert not left.exists()


def test_that_of_a_living_client_is_kept(tmp_path: Path, later: float) -> None:
    private = made(tmp_path)
    remove_directories_left(tmp_path, later)
    assert (private.path / LOCK).exists()
    private.remove()


def test_that_of_a_server_that_outlives_its_client_is_kept(tmp_path: Path, later: float) -> None:
    private = made(tmp_path)
    inherited = os.dup(private.lock)  # as by a child
    os.close(private.lock)
    remove_directories_left(tmp_path, later)
    assert (private.path / LOCK).exists()
    os.close(inherited)
    remove_directories_left(tmp_path, later)
    assert not private.path.exists()


def test_what_is_not_ours_is_kept(tmp_path: Path, later: float) -> None:
    """Files, links, what is in use for something else, and directories with another name."""
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(left_by_the_dead(make(tmp_path, "a")))
    (make(tmp_path, f"{PREFIX}admin-x") / "socket").touch()
    linked = make(tmp_path, f"{PREFIX}linked")
    (tmp_path / "target").touch()
    (linked / LOCK).symlink_to(tmp_path / "target")
    before = sorted(tmp_path.rglob("*"))
    remove_directories_left(tmp_path, later)
    assert sorted(tmp_path.rglob("*")) == before


def make(parent: Path, name: str) -> Path:
    directory = parent / name
    directory.mkdir()
    return directory


def test_a_parent_that_cannot_be_listed_will_do(tmp_path: Path, later: float) -> None:
    if os.geteuid() == 0:
        pytest.skip("root lists everything")
    parent = make(tmp_path, "parent")
    parent.chmod(0o300)
    private = make_private(DATA, [parent], later)
    assert fcntl.fcntl(private.lock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    private.remove()
    parent.chmod(0o700)


def test_the_first_parent_with_room_is_taken(tmp_path: Path) -> None:
    deep = make(tmp_path, "d" * 120)
    private = make_private(DATA, [tmp_path / "not there", deep, tmp_path], time.time())
    assert private.path.parent == tmp_path
    assert list(deep.iterdir()) == []
    private.remove()
    with pytest.raises(EmbeddedServerFailed, match="too long for a socket"):
        make_private(DATA, [deep], time.time())
