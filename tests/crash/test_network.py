"""The wire is cut at arbitrary bytes: the client tries again, and nothing is different."""

import shutil
from collections.abc import Sequence

import pytest

from tests.acceptance.computer import Done, tree
from tests.crash.world import MIB, World
from tests.support.relay import Relay
from tests.support.server_operator import at

CUTS = (1, 700, 2_500, 300_001, 7 * MIB + 17, 20 * MIB)
"""The first ones within TLS's handshake, the last ones within bodies of uploads."""


def test_backup_and_restore(world: World) -> None:
    world.write_tree(1)
    done = _over_a_bad_wire(world, CUTS, "backup")
    assert done.value("status") == "OK"
    assert len(world.generations()) == 1
    world.check_acknowledged()
    world.check_restore()
    target = world.computer.folder / "target"
    # The last cuts within the body of an answer.
    _over_a_bad_wire(world, (3_000, 20_000, 4 * MIB, 9 * MIB + 1), "restore", "latest", str(target))
    assert tree(target / world.computer.live.relative_to("/")) == tree(world.computer.live)
    shutil.rmtree(target)


@pytest.mark.parametrize(("seed", "each_bytes"), [(4, 3 * MIB), (5, 2 * MIB + 200_000)])
def test_a_link_that_drops_each_connection(world: World, seed: int, each_bytes: int) -> None:
    """Long before an upload, or an answer, is through: what goes through is made to be enough."""
    world.write_tree(seed)
    computer, target = world.computer, world.computer.folder / "target"
    with Relay(world.operator.port, each_bytes=each_bytes) as relay:
        computer.configure([computer.live], f"server_url: {relay.url}\n")
        assert computer.backup().value("status") == "OK"
        assert relay.dropped > 1
        relay.dropped = 0
        (computer.folder / ".cache").rename(computer.folder / "old-cache")
        computer.obnam("restore", "latest", str(target))
        assert relay.dropped > 1
    computer.configure([computer.live], f"server_url: {world.operator.url}\n")
    assert tree(target / computer.live.relative_to("/")) == tree(computer.live)
    shutil.rmtree(target)
    shutil.rmtree(computer.folder / "old-cache")
    world.check_acknowledged()
    world.check_restore()


def test_a_commit_whose_answer_was_lost(world: World) -> None:
    """It is repeated, and is one generation, not two and no conflict."""
    world.write_tree(2)
    before = len(world.generations())
    world.operator.asked.clear()
    world.operator.rule = at("POST /v1/generations", 1, lambda: None, answered=True)
    done = world.computer.backup()
    assert "trying again in" in done.err
    assert world.operator.asked.count("POST /v1/generations") == 2
    assert len(world.generations()) == before + 1
    assert world.generations()[-1] == done.value("generation-id")
    world.check_restore()


def test_the_server_is_restarted_meanwhile(world: World) -> None:
    """Killed four times, and there again: one backup lives through all of it."""
    world.write_tree(3)
    steps = ["upload append 2", "upload renamed 1", "accept index 1", "commit renamed 1"]
    world.kill_server_at(steps[0])
    client = world.computer.start("backup")
    for step in [*steps[1:], None]:
        world.wait_for_server(client)
        if step is not None:
            world.kill_server_at(step)
        world.start_server()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    assert "status: OK" in out
    assert "cannot be reached" in err
    world.check_acknowledged()
    world.check_restore()
    world.server.stop()
    world.check_after_crash()
    world.start_server()


def _over_a_bad_wire(world: World, cuts: Sequence[int], *command: str) -> Done:
    computer = world.computer
    with Relay(world.operator.port, cuts) as relay:
        computer.configure([computer.live], f"server_url: {relay.url}\n")
        done = computer.obnam(*command)
        assert relay.all_made, f"only {relay.carried} bytes were carried"
        assert "trying again in" in done.err
    computer.configure([computer.live], f"server_url: {world.operator.url}\n")
    return done
