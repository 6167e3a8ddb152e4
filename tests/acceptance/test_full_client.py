"""The client's own disk is full: what is full is named, and the next backup finds room again."""

import shutil
import subprocess
from pathlib import Path

from tests.acceptance.computer import TWISTD, Computer
from tests.support.server_process import ServerProcess
from tests.support.small_disk import fill, mount, run_alone


def test_the_place_is_named(tmp_path: Path) -> None:
    run_alone(day, tmp_path)


def day(folder: str) -> None:
    """What happens, where the disks are this computer's alone."""
    computer = Computer.new(Path(folder) / "computer")
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
            for command in ("backup", "verify", "list-files"):
                complaint = computer.obnam(command, code=1).complaint
                assert complaint.startswith(f"obnam: {place}/obnam/")
                assert complaint.endswith(": No space left on device")
            filled.unlink()
            computer.backup()
            computer.obnam("verify")
            subprocess.run(["umount", place], check=True)
        mount(Path("/dev/shm"), "4k")
        fill(Path("/dev/shm"))
        complaint = computer.obnam("verify", code=1).complaint
        assert complaint == "obnam: /dev/shm: No space left on device"
