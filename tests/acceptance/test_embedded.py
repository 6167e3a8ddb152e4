"""A repository in a directory: no server to run, the same commands."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.computer import COMMANDS, Computer, tree


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


def test_two_computers_of_one_name(computer: Computer, tmp_path: Path) -> None:
    """Who joins under a name that is there, or tries to, does not lock the other one out."""
    disk = tmp_path / "disk"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    (computer.live / "file").write_text("dear")
    computer.backup()
    other = Computer.new(tmp_path / "other")
    other.refused("init", "--repository", str(disk), "--no-passphrase", code=1)
    assert tree(computer.restored()) == tree(computer.live)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("very secret")
    computer.obnam("key", "add", "--passphrase-file", str(passphrase))
    other.obnam("init", "--repository", str(disk), "--passphrase-file", str(passphrase))
    (other.live / "file").write_text("other")
    for each in (computer, other, computer):
        each.backup()
        assert tree(each.restored()) == tree(each.live)


def test_another_disk_in_its_place(computer: Computer, tmp_path: Path) -> None:
    """It is found out, and nothing is backed up to it."""
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    computer.backup()
    disk.rename(elsewhere)
    other = Computer.new(tmp_path / "other")
    other.obnam("init", "--repository", str(disk), "--no-passphrase")
    complaint = computer.refused("backup", code=1)
    assert "it has nothing of this computer" in complaint
    assert "join again" in complaint
    other.backup()
    assert "not the one that was joined" in computer.refused("backup", code=1)
    assert len(other.obnam("list").lines) == 1
    shutil.rmtree(disk)
    elsewhere.rename(disk)
    computer.backup()


def test_a_damaged_index(computer: Computer, tmp_path: Path) -> None:
    """The command that is named can be copied, and helps."""
    disk = tmp_path / "disk"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    computer.backup()
    (disk / "repositories" / "default" / "index.sqlite").write_bytes(b"no database" * 1000)
    complaint = computer.refused("list", code=1)
    assert f"the repository in {disk} cannot be used" in complaint
    program, *arguments = complaint.partition("; run: ")[2].split()
    assert program == "obnam-server"
    subprocess.run([COMMANDS / program, *arguments], check=True, timeout=60)
    assert len(computer.obnam("list").lines) == 1


def test_a_repository_in_a_root(computer: Computer) -> None:
    """It would grow by all that it holds with each backup."""
    disk = computer.live / "disk"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    complaint = computer.refused("backup")
    assert f"{disk} lies in {computer.live}" in complaint
    assert str(computer.configuration) in complaint
    other = computer.folder / "other"
    other.mkdir()
    computer.configure([other])
    computer.backup()


def _servers_of(disk: Path) -> str:
    """Processes that still have to do with it."""
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return "\n".join(line for line in processes.stdout.splitlines() if str(disk) in line)


def test_a_disk_that_is_not_mounted(computer: Computer, tmp_path: Path) -> None:
    """Nothing is made where it is missing, nor in the empty directory to mount it on."""
    disk = tmp_path / "disk"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    computer.backup()
    disk.rename(tmp_path / "elsewhere")
    complaint = computer.refused("backup")
    assert f"{disk} is not there; is it mounted?" in complaint
    disk.mkdir(mode=0o700)
    complaint = computer.refused("backup")
    assert f"{disk} is empty; is it mounted?" in complaint
    assert list(disk.iterdir()) == []
    disk.rmdir()
    (tmp_path / "elsewhere").rename(disk)
    computer.backup()


@pytest.mark.parametrize(
    ("directory", "named"),
    [
        ("/etc", "is neither empty nor a data directory of obnam-server; name a new directory"),
        ("/etc/passwd", "is not a directory"),
        ("/no/such/place", "make the directory above it first"),
    ],
)
def test_a_place_that_is_none(computer: Computer, directory: str, named: str) -> None:
    complaint = computer.refused("init", "--repository", directory, "--no-passphrase", code=1)
    assert named in complaint
    assert directory in complaint
    assert "chmod" not in complaint
    assert not computer.secrets.exists()


def test_one_command_at_a_time(computer: Computer, tmp_path: Path) -> None:
    """The second one says so, and harms nothing."""
    disk = tmp_path / "disk"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    with (disk / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complaint = computer.refused("backup", code=1)
    assert str(disk) in complaint
    assert "wait until it has ended" in complaint
    computer.backup()
