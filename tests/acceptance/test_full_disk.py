"""The disk is really full: clients are told, and administrators can make room."""

import os
from pathlib import Path

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD, Computer
from tests.support.server_process import ServerProcess
from tests.support.small_disk import fill, mount, run_alone


def test_an_administrator_makes_room(tmp_path: Path) -> None:
    run_alone(day, tmp_path)


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
