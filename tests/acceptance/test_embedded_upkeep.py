"""A repository in a directory is looked after by the commands that change it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from attrs import evolve, frozen

import tests.support
from tests.acceptance.computer import COMMANDS, PATIENCE_S, Computer, Done, tree

OTHER_TIME = Path(tests.support.__file__).parent / "other_time"
DAY_S = 24 * 3600
MB = 1_000_000
NAME = "default"

LATEST_ONLY = {"last": 1, "newest": 1, "minimum_age": "0d", "trash_days": 1}


@frozen
class Disk:
    """A repository on a disk, and the computer that uses it, as many days ahead as is wanted."""

    computer: Computer
    path: Path

    def on_day(self, day: float, upkeep: str = "") -> Computer:
        """``upkeep``: see `OTHER_TIME`."""
        environment = {
            **self.computer.environment,
            "PYTHONPATH": str(OTHER_TIME),
            "OBNAM_TEST_AHEAD_S": str(round(day * DAY_S)),
            "OBNAM_TEST_UPKEEP": upkeep,
        }
        return evolve(self.computer, environment=environment)

    def back_up(self, day: float, code: int = 0, upkeep: str = "", *options: str) -> Done:
        """A backup of something new."""
        (self.computer.live / "file").write_bytes(os.urandom(2 * MB))
        return self.on_day(day, upkeep).obnam(*options, "backup", code=code)

    def admin(self, *arguments: str, day: float = 0, code: int = 0) -> Done:
        """``obnam-server --data-directory``."""
        ended = subprocess.run(
            [COMMANDS / "obnam-server", "--data-directory", self.path, *arguments],
            env=dict(self.on_day(day).environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode == code, ended.stderr
        return Done(ended.returncode, ended.stdout, ended.stderr)

    def set_policy(self, policy: object) -> None:
        file = self.computer.folder / "policy.json"
        file.write_text(json.dumps(policy))
        self.admin("retention", "set", NAME, str(file))

    @property
    def segments(self) -> list[Path]:
        """In the order in which they were written."""
        return sorted((self.path / "repositories" / NAME / "segments").glob("*/*"))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.segments)

    def spoil(self) -> None:
        """A byte of the largest of the newer segments is another one from now on."""
        segment = max(self.segments[-3:], key=lambda path: path.stat().st_size)
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)

    def is_sound(self, day: float) -> None:
        """All that was promised is there; nothing is left lying about."""
        computer = self.on_day(day)
        assert tree(computer.restored()) == tree(computer.live)
        found = json.loads(self.admin("--json", "check", NAME, day=day).out)
        assert found["findings"] == []
        assert list((self.path / "repositories" / NAME / "incoming").iterdir()) == []


@pytest.fixture
def disk(computer: Computer, tmp_path: Path) -> Disk:
    path = tmp_path / "disk"
    told = computer.obnam("init", "--repository", str(path), "--no-passphrase")
    assert f"obnam-server --data-directory {path} retention set {NAME} FILE" in told.lines[-1]
    return Disk(computer, path)


def upkeep_lines(done: Done) -> list[str]:
    return [line for line in done.err.splitlines() if line.startswith("obnam: upkeep: ")]


def test_old_generations_go_and_their_room_comes_back(disk: Disk) -> None:
    first = disk.back_up(0)
    assert first.err == ""  # there is nothing to look after yet
    disk.set_policy(LATEST_ONLY)
    gone = first.value("generation-id")
    (line,) = upkeep_lines(disk.back_up(2))
    assert "trash" not in line  # the other one is too young to take its place
    (line,) = upkeep_lines(disk.back_up(4))
    assert "obnam: upkeep: 1 generation into the trash" in line
    assert gone in disk.on_day(4).obnam("list", "--trash").out
    (line,) = upkeep_lines(disk.back_up(6))
    assert "1 generation into the trash, 1 out of it for good, 2.0 MB freed" in line
    assert gone not in disk.on_day(6).obnam("list", "--trash").out
    disk.back_up(8)
    # Two generations, and one in the trash.
    assert 3 * 2 * MB < disk.size_bytes < 3.2 * 2 * MB
    assert len(disk.on_day(8).obnam("list").lines) == 2
    disk.is_sound(8)


def test_nothing_due_costs_nothing(disk: Disk) -> None:
    """On the same day nothing is read, written or said; so a damaged disk is not noticed."""
    disk.back_up(0)
    assert upkeep_lines(disk.back_up(1)) != []
    disk.back_up(1)
    disk.spoil()
    for _ in range(2):
        assert disk.on_day(1.5).backup().err == ""
    assert disk.on_day(40).obnam("status").err == ""  # changes nothing, so it is not delayed
    disk.on_day(40).backup("--dry-run")
    disk.computer.configure([disk.computer.live], "upkeep_minutes: 0\n")
    assert disk.on_day(40).backup().err == ""


def test_damage_is_found_and_the_next_backup_heals_it(disk: Disk) -> None:
    disk.back_up(0)
    disk.back_up(1)
    disk.back_up(2)
    disk.spoil()
    done = disk.on_day(40).backup(code=3)
    assert done.value("status") == "OK"
    assert "obnam: warning: damaged in the repository: 1 chunk; run `obnam backup`" in done.err
    disk.on_day(40).obnam("verify", code=1)
    healed = disk.on_day(40).obnam("--json", "backup")
    assert healed.json["healed-chunks"] == 1
    disk.is_sound(40)
    assert "damaged" not in disk.on_day(70.5).backup().err


def test_forget_is_followed_by_upkeep(disk: Disk) -> None:
    first = disk.back_up(0).value("generation-id")
    disk.back_up(1)
    done = disk.on_day(20).obnam("--json", "forget", first)
    (told,) = [json.loads(line) for line in done.err.splitlines()]
    assert told["upkeep"]["read_bytes"] > 0
    assert done.json["done"]
    assert upkeep_lines(disk.on_day(30).obnam("--quiet", "forget", first)) == []


def test_the_server_dies_in_the_middle(disk: Disk) -> None:
    """At any step of its upkeep: the backup that went before is told of, and nothing is lost."""
    disk.back_up(0)
    disk.back_up(2)
    disk.set_policy(LATEST_ONLY)
    day, step = 4, 1
    while True:
        (disk.computer.live / "file").write_bytes(os.urandom(2 * MB))
        killed = disk.on_day(day, str(step)).start("backup")
        out, err = killed.communicate(timeout=PATIENCE_S)
        assert "status: OK" in out
        if killed.returncode == 0:
            break
        assert killed.returncode == 3
        assert err == f"obnam: warning: {disk.path}: its server ended during upkeep\n"
        disk.on_day(day).obnam("verify")
        day, step = day + 2, 2 * step
    assert step > 20
    assert len(disk.on_day(day).obnam("list").lines) == 2
    disk.is_sound(day)


@pytest.mark.parametrize("both", [False, True], ids=["client", "terminal"])
def test_a_signal_ends_it_and_not_the_command(disk: Disk, both: bool) -> None:
    """Also when the server gets it as well, as in a terminal."""
    disk.back_up(0)
    running = disk.on_day(1, "hang").start("backup")
    try:
        assert running.stdout is not None
        told = ""
        while "generation-id" not in told:
            told = running.stdout.readline()
            assert told, "it did not tell its result before its upkeep"
        if both:
            os.kill(int((disk.path / "lock").read_text()), signal.SIGINT)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE_S)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 128 + signal.SIGINT
    assert err.splitlines()[-1] == "obnam: ended by SIGINT; the command itself was done"
    disk.is_sound(1)


def test_what_is_full_is_looked_after_at_once(disk: Disk) -> None:
    for day in (0, 2, 4):
        disk.back_up(day)
    disk.set_policy(LATEST_ONLY)
    disk.admin("quota", "set", NAME, "1MB", "--force")
    done = disk.back_up(4.1, code=1)
    assert done.out == ""
    assert "obnam: upkeep: 1 generation into the trash" in done.err
    assert "quota" in done.err.splitlines()[-1]
    disk.admin("quota", "set", NAME, "none")
    disk.back_up(4.2)
    disk.is_sound(4.2)


def test_its_owner_administers_it_by_its_directory(disk: Disk) -> None:
    disk.back_up(0)
    disk.set_policy({"daily": 14})
    assert '"daily": 14' in disk.admin("retention", "show", NAME).lines[0]
    assert disk.admin("compact", NAME).out
    assert disk.admin("scrub", NAME).out
    wrong = disk.admin("--config", "server.yaml", "status", code=2).err
    assert "--config and --data-directory: give one of the two" in wrong
    assert "stands behind" in disk.admin("init", code=2).err
    elsewhere = disk.path.with_name("elsewhere")
    disk.path.rename(elsewhere)
    for there in (False, True):
        if there:
            disk.path.mkdir(mode=0o700)
        assert "is the disk mounted?" in disk.admin("status", code=1).err
    assert list(disk.path.iterdir()) == []
