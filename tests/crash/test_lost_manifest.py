"""The newest manifest is lost or damaged on the server's disk: named, and no more is lost."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.world import REPOSITORY, World, new_world
from tests.support.scrubbed import flip


def flip_within(path: Path) -> None:
    """One bit within the manifest."""
    flip(path, 200)


@pytest.mark.parametrize("damage", [flip_within, Path.unlink], ids=["flip", "delete"])
def test_the_newest_manifest(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with new_world(tmp_path) as world:
        computer = world.computer
        file = computer.live / "file"
        file.write_text("first")
        first = computer.backup().value("generation-id")
        file.write_text("second")
        second = computer.backup().value("generation-id")
        world.server.stop()
        damage(commit_of(world, second))
        world.start_server()
        began_s = time.monotonic()
        complaint = computer.refused("restore", "latest", "new", code=1)
        assert f"generation {second}: its manifest is" in complaint
        # Nothing that waiting helps against is waited for: it would be minutes.
        assert time.monotonic() - began_s < 60
        listed = computer.obnam("list", code=3)
        assert f"{second}: its manifest is" in listed.err
        assert len(listed.lines) == 2
        restored = computer.restored(first[:12], code=3)
        assert (restored / "file").read_text() == "first"
        # Who remembers it goes on behind it; who does not cannot tell it from another one.
        state = computer.folder / ".local" / "state"
        state.rename(state.with_name("away"))
        complaint = computer.refused("backup", code=1)
        assert f"generation {second}: its manifest is" in complaint
        assert "invited under another name" in complaint
        state.with_name("away").rename(state)
        done = computer.backup(code=3)
        assert f"generation {second}: its manifest is" in done.err
        assert "all files are read again" in done.err
        assert (computer.restored(done.value("generation-id")) / "file").read_text() == "second"
        assert computer.backup().value("status") == "OK"


def commit_of(world: World, generation: str) -> Path:
    """The segment of a generation's commit."""
    segments = world.server.data / "repositories" / REPOSITORY / "segments"
    (found,) = (
        path
        for path in segments.glob("*/*")
        if b'"received_ns"' in path.read_bytes()
        and f'"generation": "{generation}"'.encode() in path.read_bytes()
    )
    return found
