"""Deciding what becomes of generations: ``forget``, ``undelete``, ``pin``, ``unpin``."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.acceptance.computer import Computer, tree
from tests.support.server_process import ServerProcess

EVERYTHING = ("backup", "restore", "manage")
Trees = list[dict[bytes, object]]


def backed_up(computer: Computer, count: int) -> tuple[list[str], Trees]:
    """Back up so often, each time with other files; the ids, and what was there each time."""
    ids, trees = [], []
    (computer.live / "large").write_bytes(os.urandom(1 << 20))
    for number in range(count):
        (computer.live / f"file {number}").write_text(f"content {number}")
        (computer.live / "changing").write_text(f"{number}")
        ids.append(computer.backup().value("generation-id"))
        trees.append(tree(computer.live))
    return ids, trees


def listed(computer: Computer, *options: str) -> list[str]:
    """The ids that ``obnam list`` prints."""
    return [line.split()[0] for line in computer.obnam("list", *options).lines]


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    """A file with a passphrase."""
    path = tmp_path / "passphrase"
    path.write_text("very secret")
    return str(path)


ALONE = ("--no-passphrase",)
Join = Callable[..., Computer]


@pytest.fixture
def join(server: ServerProcess, name: str, tmp_path: Path) -> Join:
    """Joins a computer to this test's repository, as its only one if nothing else is said."""

    def joined(which: str, *scopes: str, options: Sequence[str] = ALONE) -> Computer:
        computer = Computer.new(tmp_path / which)
        invitation = server.invite(f"{name[-40:]}-{which}", name, scopes)
        computer.obnam("init", invitation, *options)
        return computer

    return joined


def test_into_the_trash_and_out_of_it(join: Join) -> None:
    computer = join("laptop", *EVERYTHING)
    ids, trees = backed_up(computer, 4)
    assert computer.obnam("forget", "--dry-run", "latest~1").lines[0].startswith(ids[2])
    assert listed(computer) == ids
    done = computer.obnam("forget", "latest~1", ids[0][:12])
    assert [line.split()[0] for line in done.lines] == [ids[2], ids[0]]
    assert all(": in the trash, until 2" in line for line in done.lines)
    assert listed(computer) == [ids[1], ids[3]]
    assert listed(computer, "--trash") == [ids[0], ids[2]]
    assert "in the trash since 20" in computer.obnam("list", "--trash").lines[0]
    assert computer.obnam("resolve", "latest~1").lines == [ids[1]]
    assert tree(computer.restored("latest~1")) == trees[1]
    assert "--trash" in computer.refused("restore", ids[0], str(computer.folder / "none"))
    ids.append(computer.backup().value("generation-id"))
    assert set(computer.reasons().values()) == {"unchanged"}
    assert computer.obnam("verify").value("status") == "OK"
    assert ": in the trash already, until 2" in computer.obnam("forget", ids[0]).lines[0]
    assert computer.obnam("undelete", ids[2][:12], ids[1]).lines[0].startswith(ids[2])
    assert listed(computer) == ids[1:]
    assert tree(computer.restored("latest~2")) == trees[2]
    assert computer.obnam("status").value("generations") == "4"


def test_pins(join: Join) -> None:
    computer = join("laptop", *EVERYTHING)
    ids, _ = backed_up(computer, 3)
    done = computer.obnam("pin", "latest~1", "--reason", "before the move: \x1b[31m")
    assert done.lines[0].startswith(ids[1])
    assert "(pinned: 'before the move: \\x1b[31m')" in done.lines[0]
    assert computer.obnam("list").lines[1] == done.lines[0]
    complaint = computer.refused("forget", ids[0], "latest~1", code=1)
    assert f"generation {ids[1]} is kept: it is pinned (before the move: ?[31m)" in complaint
    assert "it is the newest of its client" in computer.refused("forget", "latest", code=1)
    assert listed(computer) == ids
    assert computer.obnam("unpin", ids[1]).lines[0].startswith(ids[1])
    computer.obnam("forget", ids[0], ids[1])
    assert listed(computer) == [ids[2]]
    computer.refused("pin", ids[0], "--reason", "too late")
    assert computer.backup().value("status") == "OK"


def test_a_token_that_may_not(join: Join) -> None:
    """One line, with what the administrator can do; and nothing is changed."""
    computer = join("laptop", "backup", "restore")
    ids, _ = backed_up(computer, 2)
    for command in (
        ("forget", "latest~1"),
        ("forget", "--dry-run", ids[0]),
        ("undelete", ids[0]),
        ("pin", "latest", "--reason", "mine"),
        ("unpin", "latest"),
    ):
        complaint = computer.refused(*command, code=1)
        assert "may not delete, undelete or pin generations" in complaint
        assert "obnam-server client add NAME --repository" in complaint
        assert "--scope manage" in complaint
    assert listed(computer) == ids
    assert listed(computer, "--trash") == []


def test_a_computer_apart(join: Join, passphrase: str) -> None:
    """It may delete, and backs nothing up; those that are backed up cannot delete."""
    both = ("--passphrase-file", passphrase)
    laptop = join("laptop", "backup", "restore", options=both)
    ids, trees = backed_up(laptop, 3)
    apart = join("apart", "restore", "manage", options=both)
    apart.refused("forget", "latest")
    assert "it is the newest of its client" in apart.refused("forget", ids[2], code=1)
    apart.obnam("forget", ids[1])
    apart.obnam("pin", ids[0], "--reason", "the first")
    lines = laptop.obnam("list").lines
    assert [line.split()[0] for line in lines] == [ids[0], ids[2]]
    assert lines[0].endswith("(pinned: the first)")
    assert listed(laptop, "--trash") == [ids[1]]
    laptop.backup()
    assert tree(laptop.restored("latest~2")) == trees[0]
    assert tree(laptop.restored()) == trees[2]
    apart.obnam("undelete", ids[1])
    assert tree(laptop.restored(ids[1])) == trees[1]


def test_json(join: Join) -> None:
    computer = join("laptop", *EVERYTHING)
    ids, _ = backed_up(computer, 3)
    pinned = computer.obnam("--json", "pin", ids[0], "--reason", "good: ü").json
    assert (pinned["generation"], pinned["pinned"]) == (ids[0], "good: ü")
    assert [each["pinned"] for each in computer.obnam("--json", "list").json] == [
        "good: ü", None, None,
    ]  # fmt: skip
    assert computer.obnam("--json", "unpin", ids[0]).json["pinned"] is None
    dry = computer.obnam("--json", "forget", ids[0], "--dry-run").json
    assert [(each["generation"], each["trashed"]) for each in dry["done"]] == [(ids[0], None)]
    done = computer.obnam("--json", "forget", ids[0]).json
    (there,) = computer.obnam("--json", "list", "--trash").json
    assert done == {"done": [there], "already": []}
    assert there["until"] > there["trashed"] >= there["received"]
    back = computer.obnam("--json", "undelete", ids[0], ids[1]).json
    assert [each["generation"] for each in back["done"]] == [ids[0]]
    assert [each["generation"] for each in back["already"]] == [ids[1]]
    failed = computer.obnam("--json", "forget", "latest", code=1)
    assert json.loads(failed.err.splitlines()[-1])["error"] == "GenerationKept"


def test_wrong_usage(join: Join) -> None:
    """Exit code 2, and nothing is done."""
    computer = join("laptop", *EVERYTHING)
    ids, _ = backed_up(computer, 2)
    for command, named in (
        (("forget",), "REF"),
        (("forget", "latest~1", "nonsense"), "nonsense"),
        (("forget", "latest~1", "f" * 32), "no such generation"),
        (("pin", "latest"), "--reason"),
        (("pin", "latest", "--reason", " "), "--reason"),
        (("pin", "latest", "--reason", "x" * 257), "256"),
        (("undelete", "latest"), "obnam list --trash"),
        (("undelete", "f" * 32), "no such generation"),
        (("unpin", "latest~7"), "no such generation"),
    ):
        assert named in computer.refused(*command)
    assert listed(computer) == ids


def test_in_a_directory(computer: Computer, tmp_path: Path) -> None:
    """A repository on a disk: who uses it may decide."""
    computer.obnam("init", "--repository", str(tmp_path / "disk"), "--no-passphrase")
    ids, trees = backed_up(computer, 3)
    computer.obnam("pin", ids[0], "--reason", "the first")
    assert "it is pinned" in computer.refused("forget", ids[0], code=1)
    computer.obnam("unpin", ids[0])
    computer.obnam("forget", "latest~1")
    assert listed(computer) == [ids[0], ids[2]]
    computer.obnam("undelete", ids[1])
    assert tree(computer.restored(ids[1])) == trees[1]
