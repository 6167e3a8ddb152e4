"""What JSON has is what the page for scripts says: no member more, none less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obnam import config
from tests.acceptance.computer import Computer
from tests.support.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "manual" / "scripts.md"
ROW = re.compile(r"^\| (`[^|]+`) \| (.+) \|$", re.MULTILINE)
QUOTED = re.compile(r"`([\w -]+)`")

PATH = {"path", "path_base64"}
"""In each list of paths: the page says so once for all of them."""

NO_MEMBERS = {"OK", "INCOMPLETE", "DAMAGED", "--dry-run", "list"}


def described() -> dict[str, set[str]]:
    """Command -> the members that its row names."""
    found = {}
    for commands, members in ROW.findall(PAGE.read_text("utf-8")):
        for command in QUOTED.findall(commands):
            found[command] = set(QUOTED.findall(members)) - NO_MEMBERS
    found["config"] |= set(config.KEYS)
    for command in ("forget", "undelete", "pin", "unpin"):
        found[command] |= found["list"]
    found["status"] |= found["receipt"] | found["accept-history"] | {"accepted"}
    return found


def members(value: Any) -> Iterator[str]:
    """Of an object, and of all in it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from members(inner)
    elif isinstance(value, list):
        for each in value:
            yield from members(each)


def test_members(server: ServerProcess, name: str, tmp_path: Path) -> None:
    computer = Computer.new(tmp_path / "computer")
    (computer.live / "file").write_text("content")
    (computer.live / "link").symlink_to("file")
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("very secret")
    invitation = server.invite(name, name, ("backup", "restore", "manage"))
    file = f"--passphrase-file={passphrase}"
    page = described()
    found: dict[str, Any] = {}

    def run(command: str, *arguments: str) -> Any:
        done = computer.obnam("--json", *command.split(), *arguments)
        found[command] = [json.loads(line) for line in done.lines if command == "list-files"]
        found[command] = found[command] or done.json
        return found[command]

    run("init", invitation, file)
    first, newest = (run("backup")["generation-id"] for _ in range(2))
    run("pin", first, "--reason=why")
    run("list")
    run("unpin", first)
    run("forget", first)
    run("undelete", first)
    for command in ("resolve", "show-generation", "list-files", "verify", "damage", "receipt"):
        run(command, newest)
    run("restore", newest, str(tmp_path / "target"))
    for command in ("status", "config", "key list", "accept-history"):
        run(command)
    run("accept-server", found["status"]["server_key"])
    run("key add", "--label=more", file)
    run("key change", "more", file)
    run("key remove", "more")
    run("key rotate-token")
    run("chunkify", str(computer.live / "file"))
    assert found.keys() == page.keys()
    for command, value in found.items():
        assert set(members(value)) <= page[command] | PATH, command
    # Whatever is in a list of which there was nothing to show, or is not there before it is needed.
    absent = {
        "damage": {"generation", "received", "client", "problem", "files"},
        "accept-history": {"generation"},
        "status": {"accepted", "generation", "lost"} | page["receipt"],
        "key add": {"changed", "removed"},
        "key change": {"added", "removed"},
        "key remove": {"added", "changed"},
        "forget": {"already"},
        "undelete": {"already"},
    }
    for command, value in found.items():
        missing = page[command] - set(members(value)) - PATH - absent.get(command, set())
        assert not missing, (command, missing)
