"""kill -9 of the server at chosen steps of a backup, and of the client with it."""

import pytest

from tests.crash.world import World

STEPS = [
    "begin index 1",
    "upload create 1",
    "upload append 4",
    "upload sync 2",
    "upload rename 1",
    "upload renamed 2",
    "accept index 1",
    "accept indexed 2",
    "refer index 1",
    "commit append 1",
    "commit renamed 1",
    "commit index 1",
    "commit indexed 1",
]
"""See `tests.support.mortal_server`. From ``commit renamed`` on, the generation is there."""

RESTORED = STEPS[1::3]
"""After these, what the next backup made is restored: of each kind of step one."""


@pytest.mark.parametrize("step", STEPS)
def test_server_killed(world: World, step: str) -> None:
    """As by a power failure of both. Nothing acknowledged is lost; the next backup goes on."""
    world.write_tree(STEPS.index(step))
    count = len(world.generations())
    world.kill_server_at(step)
    client = world.computer.start("backup")
    world.wait_for_server(client)
    world.end_client(client)
    world.check_after_crash()
    world.start_server()
    world.check_acknowledged()
    committed = step in ("commit renamed 1", "commit index 1", "commit indexed 1")
    assert len(world.generations()) == count + committed
    world.check_next_backup()
    if step in RESTORED:
        world.check_restore()
