"""An administrator looks after a repository, beside the running server and without it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import Computer, tree
from tests.support.server_process import ServerProcess

HOME = "home"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of this test's own."""
    with ServerProcess(tmp_path / "server") as server:
        yield server


@pytest.fixture
def laptop(own: ServerProcess, tmp_path: Path) -> Computer:
    computer = Computer.new(tmp_path / "laptop")
    invitation = own.invite("laptop", HOME, ("backup", "restore"))
    computer.obnam("init", invitation, "--no-passphrase")
    return computer


def test_deciding_by_hand(own: ServerProcess, laptop: Computer) -> None:
    administrator = Administrator(own.config)
    ids = []
    for number in range(3):
        (laptop.live / "file").write_text(f"content {number}")
        ids.append(laptop.backup().value("generation-id"))

    def listed() -> list[str]:
        return [line.split()[0] for line in laptop.obnam("list").lines]

    assert [
        each["generation"] for each in administrator.json("generation", "list", HOME)["generations"]
    ] == ids
    administrator.done("generation", "pin", HOME, ids[0][:8], "--reason", "the first one")
    assert "the first one" in administrator.done("generation", "list", HOME)
    refused = administrator.refused("generation", "delete", HOME, ids[0], ids[1])
    assert "the first one" in refused
    assert "unpin it first" in refused
    assert "newest" in administrator.refused("generation", "delete", HOME, ids[2])
    assert listed() == ids
    administrator.done("repository", "hold", HOME, "--reason", "case 7")
    assert "case 7" in administrator.refused("generation", "delete", HOME, ids[1])
    administrator.done("repository", "release", HOME)
    administrator.done("generation", "delete", HOME, ids[1])
    assert listed() == [ids[0], ids[2]]
    administrator.done("generation", "undelete", HOME, ids[1])
    assert listed() == ids
    assert "ffffffff" in administrator.refused("generation", "undelete", HOME, "ffffffff")
    administrator.done("audit", "--verify")


def test_a_policy(own: ServerProcess, laptop: Computer, tmp_path: Path) -> None:
    administrator = Administrator(own.config)
    laptop.backup()
    shown = administrator.done("retention", "show", HOME)
    assert shown.startswith("policy: none, everything is kept\n")
    policy = tmp_path / "policy.json"
    for wrong, name in (('{"dayly": 3}', "dayly"), ('{"daily": 0}', "keep nothing"), ("{", "JSON")):
        policy.write_text(wrong)
        assert name in administrator.refused("retention", "set", HOME, str(policy), code=2)
    policy.write_text('{"daily": 14, "weekly": 8}')
    administrator.done("retention", "set", HOME, str(policy))
    for command in (["show", HOME], ["run", HOME, "--dry-run"], ["run", HOME]):
        found = administrator.json("retention", *command)
        assert [each["fate"] for each in found["report"]["generations"]] == ["kept"]
    assert administrator.json("retention", "show", HOME)["policy"]["daily"] == 14
    (line,) = [
        each
        for each in administrator.run("retention", "run", HOME, "--dry-run").stdout.splitlines()
        if "kept (" in each
    ]
    assert "; frees " in line
    policy.write_text("null")
    administrator.done("retention", "set", HOME, str(policy))
    assert administrator.json("retention", "show", HOME)["policy"] is None


def test_damage_is_found_and_healed(own: ServerProcess, laptop: Computer) -> None:
    administrator = Administrator(own.config)
    (laptop.live / "large").write_bytes(os.urandom(1 << 20))
    laptop.backup()
    assert administrator.json("check", HOME)["findings"] == []
    assert administrator.json("scrub", HOME)["damaged"] == 0
    segments = (own.data / "repositories" / HOME / "segments").glob("*/*")
    segment = max(segments, key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    found = administrator.json("scrub", HOME, code=3)
    assert found["damaged"] == found["damaged_chunk_count"] == 1
    laptop.obnam("verify", code=1)
    laptop.backup()
    assert administrator.json("scrub", HOME)["damaged_chunk_count"] == 0
    assert administrator.json("check", HOME)["findings"] == []
    laptop.obnam("verify")
    assert tree(laptop.restored("latest")) == tree(laptop.live)
    own.stop()
    (own.data / "repositories" / HOME / "segments" / "0000" / "stray").write_text("not ours")
    (finding,) = administrator.json("check", HOME, code=3)["findings"]
    assert "stray" in finding["what"]


def test_collect_and_compact_beside_the_server_and_without_it(
    own: ServerProcess, laptop: Computer
) -> None:
    administrator = Administrator(own.config)
    laptop.backup()
    dead = administrator.json("collect", HOME)
    assert dead["size_bytes"] > 0
    assert dead["to_be_freed_bytes"] == 0
    assert administrator.json("compact", HOME)["freed_bytes"] == 0
    laptop.obnam("verify")
    assert tree(laptop.restored("latest")) == tree(laptop.live)
    own.stop()
    assert administrator.json("collect", HOME) == dead
    assert administrator.json("compact", HOME)["done"] == 0
    assert HOME in json.dumps(administrator.json("repository", "list"))
    assert "nowhere" in administrator.refused("compact", "nowhere")
