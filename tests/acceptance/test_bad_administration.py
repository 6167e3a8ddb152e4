"""What an administrator cannot want: one line that names it and the way out, and nothing changed.

Each case is asked of the running server, and once more of the data directory alone.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD, Computer
from tests.support.server_process import ServerProcess
from tests.support.small_disk import on_small_disk, skip_without

HOME = "home"


@define
class Scene:
    """A server with two generations of one client, who may manage it.

    ``all``: see `all_there_is`, before anything was refused.
    """

    server: ServerProcess
    administrator: Administrator
    generations: list[str]
    folder: Path
    is_alone: bool
    all: list[Any]

    def file(self, content: str) -> str:
        path = self.folder / "policy.json"
        path.write_text(content)
        return str(path)


@pytest.fixture(scope="module", params=["beside the server", "without a server"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One for all tests here, in their order."""
    tmp_path = tmp_path_factory.mktemp("scene")
    server = ServerProcess(tmp_path / "server", program=TWISTD)
    server.start()
    laptop = Computer.new(tmp_path / "laptop")
    scopes = ("backup", "restore", "manage")
    laptop.obnam("init", server.invite("laptop", HOME, scopes), "--no-passphrase")
    (laptop.live / "file").write_bytes(os.urandom(100_000))
    generations = [laptop.backup().value("generation-id") for _ in range(2)]
    is_alone = request.param == "without a server"
    if is_alone:
        server.stop()
    administrator = Administrator(server.config)
    there = all_there_is(administrator)
    yield Scene(server, administrator, generations, tmp_path, is_alone, there)
    server.stop()


def decided(administrator: Administrator) -> list[Any]:
    """What was decided about a repository and its clients."""
    generations = administrator.json("generation", "list", HOME)
    clients = administrator.json("client", "list")
    return [generations, clients, administrator.json("retention", "show", HOME)["policy"]]


def all_there_is(administrator: Administrator) -> list[Any]:
    """The same, and what is stored."""
    return [decided(administrator), administrator.json("quota", "show", HOME)]


@pytest.fixture
def untouched(scene: Scene) -> Iterator[Scene]:
    """All is as it was after the test."""
    yield scene
    assert all_there_is(scene.administrator) == scene.all


def refused(scene: Scene, said: list[str], *arguments: str, code: int = 1) -> None:
    """One line, with all of that in it."""
    line = scene.administrator.refused(*arguments, code=code)
    for words in said:
        assert words in line


def test_policies(untouched: Scene) -> None:
    unknown = untouched.file('{"dayly": 3}')
    said = ["'dayly': unknown key", "known keys are last,"]
    refused(untouched, said, "retention", "set", HOME, unknown, code=2)
    nothing = untouched.file('{"daily": 0}')
    refused(
        untouched, ["would keep nothing", "give one"], "retention", "set", HOME, nothing, code=2
    )


def test_a_quota_below_use(untouched: Scene) -> None:
    said = ["repository home has", "more than 1,000", "Give a larger quota"]
    refused(untouched, said, "quota", "set", HOME, "1kB", code=2)


def test_the_last_manager(untouched: Scene) -> None:
    said = ["client laptop", "last that may manage repository home", "let another one join"]
    refused(untouched, said, "client", "revoke", "laptop")


def test_what_is_gone(untouched: Scene) -> None:
    """As what never was: nothing remembers it."""
    gone = "f" * 32
    said = [gone, "does not have", "obnam-server generation list"]
    refused(untouched, said, "generation", "undelete", HOME, gone)


def test_what_is_kept(scene: Scene) -> None:
    """Last of these: a pin that is taken away again leaves its mark in what is stored."""
    oldest, latest = scene.generations
    administrator = scene.administrator
    refused(scene, [latest, "newest"], "generation", "delete", HOME, latest)
    administrator.done("generation", "pin", HOME, oldest, "--reason", "tax")
    said = [oldest, "pinned (tax)", "unpin it first"]
    refused(scene, said, "generation", "delete", HOME, oldest)
    administrator.done("generation", "unpin", HOME, oldest)
    administrator.done("repository", "hold", HOME, "--reason", "case 7")
    said = ["legal hold (case 7)", "release it first"]
    refused(scene, said, "generation", "delete", HOME, oldest)
    administrator.done("repository", "release", HOME)
    assert decided(administrator) == scene.all[0]


def test_the_scrub_of_a_missing_segment(scene: Scene) -> None:
    """What comes of it is said; nothing else is touched."""
    segments = list((scene.server.data / "repositories" / HOME / "segments").glob("*/*"))
    largest = max(segments, key=lambda path: path.stat().st_size)
    largest.unlink()
    before = decided(scene.administrator)
    ended = scene.administrator.run("scrub", HOME)
    assert (ended.returncode, ended.stderr) == (3, "")
    *findings, last = ended.stdout.splitlines()
    assert "the next backups heal what they still have" in last
    # Without a server the loss is noted when the repository is opened, before the scrub.
    assert scene.is_alone or largest.name in findings[0]
    damaged = scene.administrator.run("check", HOME).stdout
    assert f"generation {scene.generations[1]}" in damaged
    assert decided(scene.administrator) == before
    assert all(path.exists() for path in segments if path != largest)


def test_the_audit_log_is_whole_after_all_that(scene: Scene) -> None:
    scene.administrator.done("audit", "--verify")


# The data directory, when a server or a command begins


def files_of(data: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of all that lasts."""
    return {
        str(path.relative_to(data)): (
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [data, *data.rglob("*")]
        if path.name != "lock" and not path.name.endswith(("-wal", "-shm"))
    }


def newer(data: Path) -> list[str]:
    (data / "format").write_text("obnam-server data 2\n")
    return [str(data), "format 2", "newer"]


def open_to_others(data: Path) -> list[str]:
    data.chmod(0o755)
    return [str(data), f"chmod 700 {data}"]


def somebody_elses(data: Path) -> list[str]:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    os.chown(data, 12345, 12345)
    return [str(data), "belongs to user 12345", "run as that user"]


@pytest.mark.parametrize("spoil", [newer, open_to_others, somebody_elses])
def test_a_data_directory_that_cannot_be_used(
    tmp_path: Path, spoil: Callable[[Path], list[str]]
) -> None:
    server = ServerProcess(tmp_path / "server", program=TWISTD)
    with server:
        server.invite("laptop", HOME)
    said = spoil(server.data)
    before = files_of(server.data)
    line = Administrator(server.config).refused("client", "list")
    lines = [line, refused_start(server.config)]
    for words in said:
        assert all(words in line for line in lines)
    assert files_of(server.data) == before


def refused_start(config: Path, *before: str) -> str:
    """The one line with which a server ends that cannot start, less what twistd puts before it."""
    ended = subprocess.run(
        [*before, *TWISTD, "obnam-server", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "obnam-server: " in line]
    return line


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """Where one of a MiB is, for a command that `on_small_disk` runs."""
    skip_without()
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


def test_a_full_disk_at_the_first_start(small_disk: Path, tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(f"data_directory: {small_disk}/data\nlisten: ['tcp:0:interface=127.0.0.1']\n")
    line = refused_start(config, *on_small_disk(small_disk))
    assert f"{small_disk}/data" in line
    assert "the disk is full; make room and try again" in line
    after = Path(f"{small_disk}.after")
    assert not after.exists() or list(after.iterdir()) == []


def test_a_full_disk_at_a_later_start(small_disk: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", program=TWISTD)
    with server:
        server.invite("laptop", HOME)
    config = tmp_path / "small.yaml"
    config.write_text(f"data_directory: {small_disk}/data\nlisten: ['tcp:0:interface=127.0.0.1']\n")
    line = refused_start(config, *on_small_disk(small_disk, server.data))
    assert f"{small_disk}/data" in line
    assert "the disk is full; make room and try again" in line
    assert files_of(Path(f"{small_disk}.after")) == files_of(server.data)
