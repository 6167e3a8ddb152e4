"""A server without room, and two backups of one client at once: refused, and nothing is lost."""

from threading import Event

import pytest

from tests.acceptance.computer import tree
from tests.crash.world import PATIENCE_S, World
from tests.support.server_operator import Answered, Asked, Forward

COMMIT = "POST /v1/generations"


STEPS = ["upload append 4", "commit append 1"]


@pytest.mark.parametrize("step", STEPS)
def test_the_servers_disk_is_full(world: World, step: str) -> None:
    """The client stops and says so; when there is room again the next backup goes on."""
    world.write_tree(STEPS.index(step))
    before = world.generations()
    world.will.write_text(f"full {step}")
    complaint = world.computer.refused("backup", code=1)
    assert f"{world.operator.url} is full. What was sent so far is kept; make room" in complaint
    assert world.generations() == before
    world.will.unlink()
    world.check_acknowledged()
    world.check_next_backup()
    world.check_restore()


def test_one_of_two_backups_wins(world: World) -> None:
    """The other one is held back until the first has committed, and is refused then."""
    world.write_tree(200)
    before = world.generations()
    arrived, other_done = Event(), Event()

    def hold_back_the_first(asked: Asked, forward: Forward) -> Answered:
        if asked.name == COMMIT and not arrived.is_set():
            arrived.set()
            assert other_done.wait(PATIENCE_S)
        return forward(asked)

    world.operator.rule = hold_back_the_first
    slow = world.computer.start("backup")
    assert arrived.wait(PATIENCE_S)
    (world.computer.live / "later").write_text("only the second one sees this")
    won = world.computer.backup().value("generation-id")
    other_done.set()
    out, err = slow.communicate(timeout=PATIENCE_S)
    assert slow.returncode == 1
    assert out == ""
    assert "another backup of this client was committed meanwhile" in err.splitlines()[-1]
    assert won in err
    assert world.generations() == [*before, won]
    world.check_restore()
    world.check_next_backup()
    assert len(world.generations()) == len(before) + 2


def test_two_backups_race(world: World) -> None:
    """Whoever comes first: each completes, or is refused; one at least completes."""
    world.write_tree(300)
    before = world.generations()
    both = [world.computer.start("backup") for _ in range(2)]
    ended = [each.communicate(timeout=2 * PATIENCE_S) for each in both]
    codes = sorted(each.returncode for each in both)
    assert codes in ([0, 0], [0, 1]), ended
    for each, (out, err) in zip(both, ended, strict=True):
        assert ("status: OK" in out) == (each.returncode == 0)
        assert ("was committed meanwhile" in err) == (each.returncode == 1)
    assert len(world.generations()) == len(before) + codes.count(0)
    assert tree(world.computer.restored()) == tree(world.computer.live)
