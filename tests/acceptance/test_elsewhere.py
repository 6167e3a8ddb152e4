"""Where Obnam seldom is: file systems, limits and roots that most people do not have."""

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.acceptance.computer import COMMANDS, PATIENCE_S, Computer, processes_of, tree
from tests.support.small_disk import mount, run_alone

OBNAM = str(COMMANDS / "obnam")


def run(
    computer: Computer, *command: str, limit: Callable[[], None] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command of the computer's under a limit; no traceback comes of it."""
    done = subprocess.run(
        command,
        cwd=computer.folder,
        env=dict(computer.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        preexec_fn=limit,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def files(most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# Limits


def test_few_open_files(computer: Computer, tmp_path: Path) -> None:
    """Wide and deep trees are backed up and restored with 64; fewer are refused at once."""
    disk = tmp_path / "disk"
    computer.obnam("init", "--repository", str(disk), "--no-passphrase")
    for number in range(150):
        (computer.live / f"{number}").mkdir()
        (computer.live / f"{number}" / "file").write_text(f"{number}")
    deep = computer.live.joinpath(*"d" * 150)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    assert run(computer, OBNAM, "backup", limit=files(64)).returncode == 0
    target = tmp_path / "target"
    done = run(computer, OBNAM, "restore", "latest", str(target), limit=files(64))
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(target / computer.live.relative_to("/")) == tree(computer.live)
    done = run(computer, OBNAM, "list", limit=files(20))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "obnam: only 20 files may be open at once, and 64 are needed: raise the limit "
        "(`ulimit -n`)\n"
    )


@pytest.fixture
def lonely() -> Iterator[tuple[Computer, list[str]]]:
    """A computer whose user has no other process, and what runs a command as that one.

    Root may have any number of them. The user may still read what root may, such as the programs.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to be a user with nothing else to do")
    user, read = 100_000 + os.getpid(), "+dac_override,+dac_read_search"
    with TemporaryDirectory(dir="/tmp") as folder:
        computer = Computer.new(Path(folder) / "computer")
        (computer.live / "file").write_text("live")
        subprocess.run(["chown", "-R", f"{user}", folder], check=True)
        yield (
            computer,
            [
                "setpriv",
                f"--reuid={user}",
                f"--regid={user}",
                "--clear-groups",
                f"--inh-caps={read}",
                f"--ambient-caps={read}",
                f"--bounding-set=-all,{read}",
            ],
        )
        # What a command left to end by itself has ended, too.
        until_s = time.monotonic() + PATIENCE_S
        while living := processes_of(computer):
            assert time.monotonic() < until_s, living


@pytest.mark.parametrize("most", [2, 4, 6, 8])
def test_few_processes(lonely: tuple[Computer, list[str]], most: int) -> None:
    """A thread is one, too. Nothing hangs, and the way out is said."""
    computer, by_user = lonely
    disk = computer.folder / "disk"
    init = run(computer, *by_user, OBNAM, "init", "--repository", str(disk), "--no-passphrase")
    assert init.returncode == 0, init.stderr

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))

    for command in ("backup", "list"):
        began_s = time.monotonic()
        done = run(computer, *by_user, OBNAM, command, limit=few)
        assert time.monotonic() - began_s < 25
        if done.returncode:
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.count("\n") == 1
            assert "raise the limit on processes (`ulimit -u`)" in done.stderr


def test_files_that_may_not_be_large(computer: Computer, tmp_path: Path) -> None:
    computer.obnam("init", "--repository", str(tmp_path / "disk"), "--no-passphrase")
    (computer.live / "file").write_bytes(os.urandom(1 << 20))

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    done = run(computer, OBNAM, "backup", limit=small)
    assert done.returncode == 1
    assert "File too large; raise the limit on the size of files (`ulimit -f`)" in done.stderr
    computer.backup()
    assert tree(computer.restored()) == tree(computer.live)


def test_output_that_finds_no_room(joined: Computer) -> None:
    """It is said that it is the output, and not what was asked for, that found none."""
    (joined.live / "file").write_text("content")
    for command in ("backup", "list-files", "config"):
        done = run(joined, "sh", "-c", f"{OBNAM} {command} >/dev/full")
        assert done.returncode == 1
        assert done.stderr == ("obnam: what is to be printed cannot be: No space left on device\n")
    assert joined.reasons()["file"] == "new"


def test_a_locale_that_cannot_say_it(joined: Computer) -> None:
    """A root's name is UTF-8 in the configuration, and has no bytes in such a locale."""
    root = joined.folder / "grün"
    root.mkdir()
    joined.configure([root])
    ascii_only = ("LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0")
    done = run(joined, "env", *ascii_only, OBNAM, "backup")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "gr\\xfcn' has no name in your locale's character set (ascii)" in line
    assert line.endswith("; set LC_ALL=C.UTF-8")
    joined.backup()


# Disks


def on_its_own_disk(folder: Path, size: str, *more: str) -> tuple[Path, Computer]:
    """A disk that nobody else has, and a computer whose repository lies there."""
    disk = folder / "disk"
    disk.mkdir()
    mount(disk, size, *more)
    computer = Computer.new(folder / "computer")
    computer.obnam("init", "--repository", str(disk / "repository"), "--no-passphrase")
    return disk, computer


def test_a_disk_without_inodes(tmp_path: Path) -> None:
    """``df`` shows room then: so it is named."""
    run_alone(day_without_inodes, tmp_path)


def day_without_inodes(folder: str) -> None:
    """What happens, where the disk is ours alone."""
    disk, computer = on_its_own_disk(Path(folder), "64m", "nr_inodes=80")
    (computer.live / "file").write_text("content")
    computer.backup()
    made = []
    with contextlib.suppress(OSError):
        for number in range(80):
            made.append(disk / f"{number}")
            made[-1].touch()
    made.pop()
    complaint = computer.refused("list", code=1)
    assert "the disk has no inodes left (`df -i`)" in complaint
    assert complaint.endswith("remove files there and try again")
    for path in made:
        path.unlink()
    for number in range(100):
        (computer.live / f"{number}").write_text(f"{number}")
    computer.backup()
    done = computer.obnam("restore", "latest", str(disk / "target"), code=1)
    assert "no inodes (see `df -i`) left" in done.complaint
    shutil.rmtree(disk / "target")
    assert tree(computer.restored()) == tree(computer.live)


def test_a_full_repository_in_a_directory(tmp_path: Path) -> None:
    """Its directory is named, which its user can make room in."""
    run_alone(full_day, tmp_path)


def full_day(folder: str) -> None:
    """What happens, where the disk is ours alone."""
    disk, computer = on_its_own_disk(Path(folder), "8m")
    (computer.live / "file").write_bytes(os.urandom(10 << 20))
    assert computer.obnam("backup", code=1).err.splitlines()[-1] == (
        f"obnam: the repository in {disk}/repository is full. What was sent so far is kept; make "
        f"room there and run the command again"
    )
    (computer.live / "file").write_text("small")
    computer.backup()
    assert tree(computer.restored()) == tree(computer.live)


@contextlib.contextmanager
def file_system(folder: Path, kind: str, size_bytes: int, *options: str) -> Iterator[Path]:
    """A file system of this kind, in a file. Skips the test where there can be none."""
    make = f"mkfs.{kind}"
    if os.geteuid() != 0 or shutil.which(make) is None:
        pytest.skip(f"needs root and {make}")
    image, disk = folder / "image", folder / kind
    with image.open("wb") as file:
        file.truncate(size_bytes)
    disk.mkdir()
    subprocess.run([make, "-q", *options, image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, disk], check=False).returncode != 0:
        pytest.skip("this system does not let us mount it")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """The least that ``mkfs.xfs`` makes."""
    with file_system(tmp_path, "xfs", 320 << 20) as disk:
        yield disk


def test_an_acl_from_xfs(joined: Computer, xfs: Path, tmp_path: Path) -> None:
    """It comes back as an ACL, and not a second time as what XFS keeps it in."""
    if shutil.which("setfacl") is None:
        pytest.skip("needs setfacl")
    file = xfs / "file"
    file.write_text("content")
    subprocess.run(["setfacl", "-m", "u:12345:r", file], check=True)
    assert "trusted.SGI_ACL_FILE" in os.listxattr(file)
    joined.configure([xfs])
    joined.backup()
    joined.obnam("restore", "latest", str(tmp_path / "target"))
    restored = tmp_path / "target" / file.relative_to("/")
    assert os.listxattr(restored) == ["system.posix_acl_access"]
    acl = "system.posix_acl_access"
    assert os.getxattr(restored, acl) == os.getxattr(file, acl)


# Roots


def test_what_the_kernel_makes_up(joined: Computer) -> None:
    """Files of /proc have content and no size: each is an error, none is an empty file."""
    joined.configure(["/proc/sys/kernel/random"])
    done = joined.backup(code=3)
    assert (
        "obnam: warning: /proc/sys/kernel/random/uuid: cannot be read: it says that it is empty "
        "and is not, as the files of /proc do"
    ) in done.err.splitlines()
    listed = joined.obnam("list-files").lines
    assert "f /proc/sys/kernel/random/uuid (error)" in listed


@pytest.fixture
def by_the_second(tmp_path: Path) -> Iterator[Path]:
    """Times by the second: ext4 with small inodes, as many old ones are."""
    with file_system(tmp_path, "ext4", 16 << 20, "-I", "128") as disk:
        yield disk


def with_times_of(before: os.stat_result, file: Path, disk: Path) -> os.stat_result:
    """Set a file's times, its ctime too, which only somebody behind the kernel's back can."""
    image = disk.with_name("image")
    subprocess.run(["umount", disk], check=True)
    for field, at_s in (("mtime", before.st_mtime), ("ctime", before.st_ctime)):
        change = f"set_inode_field {file.relative_to(disk)} {field} @{int(at_s)}"
        subprocess.run(["debugfs", "-w", "-R", change, image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    return file.stat()


def test_a_file_written_in_the_second_of_the_backup(joined: Computer, by_the_second: Path) -> None:
    """It looks as it did when it was read, and is read again all the same."""
    data = by_the_second / "data"
    data.mkdir()
    joined.configure([data])
    file = data / "file"
    for attempt in range(10):
        file.write_text(f"first {attempt}")
        before = file.stat()
        joined.backup()
        began = datetime.fromisoformat(joined.obnam("--json", "show-generation").json["started"])
        if before.st_ctime >= began.timestamp() - 1:
            break
    else:
        pytest.skip("here a backup does not begin within two seconds")
    with file.open("r+") as opened:
        opened.write(f"later {attempt}")
    after = with_times_of(before, file, by_the_second)
    assert file.read_text() == f"later {attempt}"
    for name in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"):
        assert getattr(after, name) == getattr(before, name)
    joined.backup()
    target = joined.folder / "target"
    joined.obnam("restore", "latest", str(target))
    assert (target / file.relative_to("/")).read_text() == f"later {attempt}"
