"""A repository in a directory: no server to run, the same commands."""

import os
import subprocess
from pathlib import Path

from tests.acceptance.computer import Computer, tree


def test_a_repository_on_a_disk(computer: Computer, tmp_path: Path) -> None:
    """Join, back up, restore; and, from another computer, with the passphrase."""
    disk = tmp_path / "disk"
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("very secret")
    computer.obnam("init", "--repository", str(disk), "--passphrase-file", str(passphrase))
    (computer.live / "file").write_bytes(os.urandom(300_000))
    (computer.live / "small").write_text("small")
    computer.backup()
    assert tree(computer.restored()) == tree(computer.live)
    fresh = Computer.new(tmp_path / "fresh")
    fresh.obnam("init", "--repository", str(disk), "--passphrase-file", str(passphrase))
    assert len(fresh.obnam("list").lines) == 1
    assert _servers_of(disk) == ""
    disk.rename(tmp_path / "elsewhere")
    assert "is it mounted?" in fresh.refused("list")


def _servers_of(disk: Path) -> str:
    """Processes that still have to do with it."""
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return "\n".join(line for line in processes.stdout.splitlines() if str(disk) in line)
