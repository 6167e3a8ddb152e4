"""The client's own disk is full: what is full is named, and the next backup finds room again."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from tests.acceptance.computer import TWISTD, Computer, tree
from tests.support.server_process import ServerProcess
from tests.support.small_disk import fill, mount, run_alone


def test_the_place_is_named(tmp_path: Path) -> None:
    run_alone(day, tmp_path)


READING = ("list", "list-files", "verify", "status")


def can_be_got_back(computer: Computer, warned: str, reading: Sequence[str] = ()) -> None:
    """Whoever only reads needs no room, and is told what is not noted: exit code 0."""
    target = tempfile.mkdtemp(dir=computer.folder)
    restore = ("restore", "latest", target, str(computer.live))
    for arguments in (*((each,) for each in reading), restore):
        err = computer.obnam(*arguments).err
        if arguments[0] != "status":
            assert (warned in err and "not noted here" in err) if warned else not err
    assert tree(Path(target) / computer.live.relative_to("/")) == tree(computer.live)
    left = list(Path(computer.environment["TMPDIR"]).iterdir())
    assert left == [], left


def day(folder: str) -> None:
    """What happens, where the disks are this computer's alone."""
    temporary = Path(folder) / "temporary"
    temporary.mkdir()
    computer = Computer.new(Path(folder) / "computer")
    computer = evolve(computer, environment={**computer.environment, "TMPDIR": str(temporary)})
    (computer.live / "file").write_bytes(bytes(1 << 20))
    cache, state = computer.folder / ".cache", computer.folder / ".local" / "state"
    with ServerProcess(Path(folder) / "server", program=TWISTD) as server:
        computer.obnam("init", server.invite("laptop"), "--no-passphrase")
        for place in (cache, state):
            place.mkdir(parents=True, exist_ok=True)
        computer.backup()
        shutil.rmtree(cache / "obnam")
        for place in (cache, state):
            mount(place, "64k")
            filled = fill(place)
            complaint = computer.obnam("backup", code=1).complaint
            assert complaint.startswith(f"obnam: {place}/obnam/")
            assert complaint.endswith(": No space left on device")
            can_be_got_back(computer, "No space left on device" if place == state else "")
            filled.unlink()
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            complaint = computer.obnam("backup", code=1).complaint
            assert complaint.startswith(f"obnam: {place}/obnam")
            assert complaint.endswith(": Read-only file system")
            warned = "Read-only file system" if place == state else ""
            can_be_got_back(computer, warned, READING)
            subprocess.run(["mount", "-o", "remount,rw", place], check=True)
            computer.backup()
            computer.obnam("verify")
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            can_be_got_back(computer, "", READING)
            subprocess.run(["umount", place], check=True)
        mount(Path("/dev/shm"), "4k")
        fill(Path("/dev/shm"))
        complaint = computer.obnam("verify", code=1).complaint
        assert complaint == "obnam: /dev/shm: No space left on device"
