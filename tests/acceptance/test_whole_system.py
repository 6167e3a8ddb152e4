"""File systems that are mounted below a root: those of the kernel, and the repository's."""

import subprocess
from pathlib import Path

from tests.acceptance.computer import Computer, tree
from tests.support.small_disk import mount, run_alone


def test_what_the_kernel_shows_is_left_out(tmp_path: Path) -> None:
    """As with ``/`` as a root: directories, and no warning; what else is mounted is kept."""
    run_alone(day, tmp_path)


def day(folder: str) -> None:
    """What happens, where mounting is for us alone."""
    computer = Computer.new(Path(folder) / "computer")
    computer.obnam("init", "--repository", f"{folder}/repository", "--no-passphrase")
    live = computer.live
    for name in ("proc", "sys", "disk"):
        (live / name).mkdir()
    (live / "proc" / "hidden").write_text("by what is mounted")
    computer.backup()
    assert computer.reasons()["proc/hidden"] == "new"
    for name in ("proc", "sys"):
        subprocess.run(["mount", "--rbind", f"/{name}", str(live / name)], check=True)
    mount(live / "disk", "1m")
    (live / "disk" / "file").write_text("content")

    for reason in ("new", "unchanged"):
        done = computer.backup()
        assert done.err == ""
        assert computer.reasons() == {
            ".": "unchanged",
            "disk": "changed" if reason == "new" else "unchanged",
            "disk/file": reason,
            "proc": "skipped",
            "sys": "skipped",
        }
    target = computer.restored()
    assert list((target / "proc").iterdir()) == list((target / "sys").iterdir()) == []
    assert tree(target / "disk") == tree(live / "disk")

    computer.configure([live / "proc" / "sys" / "kernel" / "random"])
    computer.backup(code=3)
    assert computer.reasons()["proc/sys/kernel/random/uuid"] == "error"


def test_a_disk_with_the_repository_below_a_root(tmp_path: Path) -> None:
    """As ``/media/usb`` is, with ``/`` as a root: the repository is not backed up into itself."""
    run_alone(day_with_a_disk, tmp_path)


def day_with_a_disk(folder: str) -> None:
    """What happens, where mounting is for us alone."""
    computer = Computer.new(Path(folder) / "computer")
    disk = computer.live / "disk"
    disk.mkdir()
    mount(disk, "8m")
    (disk / "beside").write_text("it")
    computer.obnam("init", "--repository", str(disk / "repository"), "--no-passphrase")
    for reason in ("new", "unchanged"):
        assert computer.backup().err == ""
        assert computer.reasons() == {
            ".": reason,
            "disk": reason,
            "disk/beside": reason,
            "disk/repository": "skipped",
        }
    assert list((computer.restored() / "disk" / "repository").iterdir()) == []
