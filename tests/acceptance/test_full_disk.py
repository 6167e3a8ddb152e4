"""The disk is really full: clients are told, and administrators can make room."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD, Computer
from tests.support.server_process import ServerProcess
from tests.support.small_disk import alone, can_mount, fill, mount


def test_an_administrator_makes_room(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("this system does not let us mount a small disk")
    program = "tests.acceptance.test_full_disk:day"
    ended = subprocess.run(
        alone(program, str(tmp_path)), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def joined(server: ServerProcess, folder: Path, name: str, repository: str) -> Computer:
    computer = Computer.new(folder / name)
    computer.obnam("init", server.invite(name, repository), "--no-passphrase")
    (computer.live / "file").write_bytes(os.urandom(1 << 20))
    return computer


def day(folder: str) -> None:
    """What happens, where the disk is the server's alone."""
    disk = Path(folder) / "disk"
    disk.mkdir()
    mount(disk, "12m")
    server = ServerProcess(disk / "server", program=TWISTD)
    administrator = Administrator(server.config)
    reserve = server.data / "reserve"
    with server:
        home = joined(server, Path(folder), "laptop", "home")
        den = joined(server, Path(folder), "desktop", "den")
        for computer in (home, den):
            computer.backup()
        assert reserve.stat().st_size == 1 << 20
        filled = fill(disk)

        (home.live / "more").write_bytes(os.urandom(1 << 20))
        assert "full" in home.obnam("backup", code=1).complaint
        assert reserve.exists()
        administrator.done("client", "revoke", "laptop")
        assert not reserve.exists()
        assert "revoked" in administrator.done("client", "list")
        administrator.done("repository", "destroy", "home", "--yes")
        administrator.done("audit", "--verify")
        # There is room, and it is for others.
        (den.live / "small").write_text("small")
        den.backup()
    filled.unlink()
    with server:
        administrator.done("quota", "set", "den", "1GB")
        assert reserve.stat().st_size == 1 << 20

    # Without a server, too.
    filled = fill(disk)
    assert "desktop" in administrator.done("client", "revoke", "desktop")
    assert not reserve.exists()
    filled.unlink()
    assert administrator.done("client", "list").count("revoked") == 2
    assert reserve.stat().st_size == 1 << 20
    events = administrator.done("audit")
    # One that found no room after its line is there twice, with "not-done" between the two.
    assert events.count("client-revoke") == 2 + events.count("not-done")
    assert events.count("repository-destroy") == 1
    administrator.done("audit", "--verify")
