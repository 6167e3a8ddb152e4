"""The `obnam-server` command beside a real server, and after it."""

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import COMMANDS
from tests.support.server_process import ServerProcess


@pytest.fixture
def own(tmp_path: Path) -> ServerProcess:
    """A server that does not run yet."""
    return ServerProcess(tmp_path / "server")


def test_the_same_with_and_without_a_server(own: ServerProcess) -> None:
    administrator = Administrator(own.config)
    line = administrator.refused("client", "revoke", "nobody")
    with own:
        assert stat.S_IMODE((own.data / "admin.socket").stat().st_mode) == 0o600
        found = administrator.json("client", "add", "laptop", "--repository", "home")
        assert found["url"] == own.url
        assert administrator.refused("client", "revoke", "nobody") == line
        clients = administrator.json("client", "list")
        status = administrator.json("status")
        assert (status["running"], status["pid"]) == (True, own.pid)
        assert status["addresses"] == [own.url]
        assert status["server"]["started_ns"] > 0
        assert f"running as process {own.pid}" in administrator.done("status")
    assert not (own.data / "admin.socket").exists()
    assert administrator.json("client", "list") == clients
    assert administrator.json("status")["running"] is False
    assert "server: not running" in administrator.done("status")


def test_a_killed_server_leaves_nothing_that_misleads(own: ServerProcess) -> None:
    administrator = Administrator(own.config)
    own.start()
    own.kill()
    assert (own.data / "admin.socket").is_socket()
    assert (own.data / "listening.json").exists()
    status = administrator.json("status")
    assert (status["running"], status["pid"], status["addresses"]) == (False, None, [])
    with own:
        assert administrator.json("status")["pid"] == own.pid


def test_a_server_that_hangs_is_not_taken_for_none(own: ServerProcess) -> None:
    """The data directory is its own all the while."""
    administrator = Administrator(own.config)
    with own:
        os.kill(own.pid, signal.SIGSTOP)
        arguments = (COMMANDS / "obnam-server", "--config", own.config, "client", "list")
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as asking:
            os.kill(own.pid, signal.SIGCONT)
            assert asking.wait(60) == 0
        assert administrator.json("client", "list") == []


Prepare = Callable[[Path], None]


def newer(data: Path) -> None:
    (data / "format").write_text("obnam-server data 2\n")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda data: data.chmod(0o755), "others may enter it; run: chmod 700"),
        (newer, "has format 2, this Obnam knows 1: install a newer Obnam"),
        (lambda data: (data / "format").write_text("mine"), "its file `format` is damaged"),
    ],
    ids=["mode", "newer", "foreign"],
)
def test_a_data_directory_that_cannot_be_used(
    own: ServerProcess, prepare: Prepare, said: str
) -> None:
    administrator = Administrator(own.config)
    administrator.json("client", "list")
    prepare(own.data)
    before = {path: path.read_bytes() for path in own.data.iterdir() if path.is_file()}
    for command in (["status"], ["client", "revoke", "x"], ["repository", "list"]):
        assert said in administrator.refused(*command)
    assert {path: path.read_bytes() for path in own.data.iterdir() if path.is_file()} == before


def test_what_was_done_is_in_the_audit_log(own: ServerProcess) -> None:
    """Whoever did it, and whether the server ran."""
    administrator = Administrator(own.config)
    assert "data: is not there" in administrator.refused("audit")
    with own:
        nothing = {"events": 0, "first": 1, "last": "0" * 64}
        assert administrator.json("audit", "--verify") == nothing
        administrator.json("client", "add", "laptop", "--repository", "home")
    administrator.done("client", "revoke", "laptop")
    administrator.done("rebuild-index")
    administrator.run("rebuild-index", "--repository", "home", code=1)
    found = administrator.json("audit")
    assert [each["event"] for each in found] == ["client-invite", "client-revoke", "rebuild-index"]
    assert {each["administrator"] for each in found} == {os.getuid()}
    assert administrator.json("audit", "--repository", "home") == found[:1]
    (line,) = administrator.done("audit", "--last", "1").splitlines()
    assert f"\trebuild-index\t-\tuser {os.getuid()}" in line
    verified = administrator.json("audit", "--verify")
    assert verified["events"] == 3
    assert "3 events, all as they were written" in administrator.done("audit", "--verify")

    (path,) = (own.data / "audit").iterdir()
    path.write_bytes(path.read_bytes().replace(b"laptop", b"tablet", 1))
    line = administrator.refused("audit", "--verify")
    assert line == (
        f"obnam-server: audit log: {path}, line 2: "
        "does not fit: it, or the line before it, was changed"
    )
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    said = administrator.run("audit", "--verify", code=3).stdout
    assert said.startswith("events 2 to 3, all as they were written\nthose before 2 are not there")
