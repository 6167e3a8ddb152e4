"""kill -9 of the client at chosen requests of a backup; the server lives on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.acceptance.computer import processes_of
from tests.crash.world import PATIENCE_S, World, new_world
from tests.support import hasty_client
from tests.support.server_operator import at

POINTS = [
    ("GET /v1/repository", 1, False),
    ("POST /v1/chunks/missing", 2, True),
    ("POST /v1/chunks", 2, True),
    ("POST /v1/sessions/ID/references", 1, True),
    ("POST /v1/generations", 1, False),
    ("POST /v1/generations", 1, True),
]
"""Request, its number, and whether the server has answered it by then."""


class Killed:
    """Starts a client, and kills it when told; ``by_now`` is called from the operator's thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._started = Event()
        self._client: subprocess.Popen[str] | None = None

    def by_now(self) -> None:
        """Kill it."""
        assert self._started.wait(PATIENCE_S)
        assert self._client is not None
        self._client.kill()

    def run(self, start: Callable[[], "subprocess.Popen[str]"]) -> None:
        """Start it; wait until it is gone, with all that it started."""
        self._client = start()
        self._started.set()
        self._client.communicate(timeout=PATIENCE_S)
        assert self._client.returncode == -9
        assert processes_of(self._world.computer) == []


@pytest.mark.parametrize(("name", "count", "answered"), POINTS)
def test_client_killed(world: World, name: str, count: int, answered: bool) -> None:
    world.write_tree(POINTS.index((name, count, answered)))
    before = world.generations()
    killed = Killed(world)
    world.operator.rule = at(name, count, killed.by_now, answered=answered)
    killed.run(lambda: world.computer.start("backup"))
    world.operator.serve(world.server.url)
    committed = (name, answered) == ("POST /v1/generations", True)
    assert len(world.generations()) == len(before) + committed
    world.check_acknowledged()
    world.check_next_backup()
    world.check_restore()
    if committed:
        check_leftovers(world)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[World]:
    """A world without backups before: what changed while they ran is read again in any case."""
    with new_world(tmp_path) as world:
        yield world


def test_goes_on_from_a_checkpoint(new: World) -> None:
    """A partial generation is there, marked as such; what it has is not even read again."""
    new.write_tree(100)
    for number in range(12):
        # Each is a batch of its own, since two do not fit into a slab.
        content = os.urandom(1 << 20) * 8
        (new.computer.live / f"a-{number:02}").write_bytes(content)
    before = new.generations()
    killed = Killed(new)
    new.operator.rule = at("POST /v1/generations", 2, killed.by_now, answered=False)
    killed.run(lambda: _start_hastily(new))
    new.operator.serve(new.server.url)
    listed = new.computer.obnam("--json", "list").json
    assert [each["partial"] for each in listed[len(before) :]] == [True]
    known = set(new.operator.acknowledged)
    done = new.computer.obnam("--json", "backup").json
    assert not known & set(new.operator.sent)
    assert done["unchanged"] > 0
    assert done["read-files"] > 0
    listed = new.computer.obnam("--json", "list").json
    assert [each["partial"] for each in listed[len(before) :]] == [True, False]
    new.check_restore()


def _start_hastily(world: World) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(Path(hasty_client.__file__)), "backup"],
        cwd=world.computer.folder,
        env=dict(world.computer.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_leftovers(world: World) -> None:
    """No temporary files; in the cache only what is removed after a day."""
    assert list((world.computer.folder / "tmp").iterdir()) == []
    # Databases that were being made, a few KiB each here: at most two of each killed client.
    left = list((world.computer.folder / ".cache").rglob("*.new"))
    assert len(left) <= 2 * len(POINTS)
    for path in left:
        os.utime(path, (0, 0))
    (world.computer.live / "one more").write_text("file")
    world.computer.backup()
    assert list((world.computer.folder / ".cache").rglob("*.new")) == []
