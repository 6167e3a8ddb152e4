"""kill -9 of `obnam key rotate-token` at each of its requests: the client still gets in."""

import re

import pytest

from tests.crash.test_client_killed import Killed
from tests.crash.world import World
from tests.support.server_operator import at


def tokens(world: World) -> list[str]:
    """Those in ``secrets.yaml``, the current one first."""
    found: list[str] = re.findall(r'^\w*token: "(.+)"$', world.computer.secrets.read_text(), re.M)
    return found


@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("POST /v1/token", False),
        ("POST /v1/token", True),
        ("GET /v1/repository", False),
        ("GET /v1/repository", True),
    ],
)
def test_killed(world: World, name: str, answered: bool) -> None:
    (old,) = tokens(world)
    killed = Killed(world)
    world.operator.rule = at(name, 1, killed.by_now, answered=answered)
    killed.run(lambda: world.computer.start("key", "rotate-token"))
    world.operator.serve(world.server.url)
    assert tokens(world)[0] == old
    assert len(tokens(world)) == 2
    done = world.computer.obnam("status")
    assert "rotate-token" in done.err
    assert world.computer.obnam("key", "rotate-token").lines == ["client laptop has another token"]
    (new,) = tokens(world)
    assert new != old
    (world.computer.live / "file").write_text(new)
    world.computer.backup()
    secrets = world.computer.secrets
    kept = secrets.read_text()
    secrets.write_text(kept.replace(new, old))
    assert "refuses access" in world.computer.refused("status", code=1)
    secrets.write_text(kept)
