"""Ctrl-C, SIGTERM, and worse: nothing runs on, nothing is lost, the next backup goes on."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attrs import evolve

from obnam_server.listening import read_listening
from tests.acceptance.computer import Computer, processes_of, tree


def amid_a_backup(computer: Computer) -> "subprocess.Popen[str]":
    """A backup that has read nothing yet, and will not be done soon."""
    for file in range(40):
        (computer.live / f"{file}").write_bytes(os.urandom(2 << 20))
    process = computer.start("-v", "backup")
    assert process.stderr is not None
    for line in process.stderr:
        if line == "obnam: backup\n":
            break
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(joined: Computer, number: signal.Signals) -> None:
    """Exit code 128 and the signal's number; one line; the next backup does what is left."""
    process = amid_a_backup(joined)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert out == ""
    assert err.splitlines()[-1].startswith(f"obnam: ended by {number.name}")
    assert "Traceback" not in err
    assert processes_of(joined) == []
    joined.backup()
    assert tree(joined.restored()) == tree(joined.live)
    assert list((joined.folder / ".cache").rglob("*.new")) == []


def test_killed(joined: Computer) -> None:
    """Workers end with a client that is killed."""
    process = amid_a_backup(joined)
    process.kill()
    process.communicate(timeout=30)  # until all that have its output open are gone
    assert processes_of(joined) == []
    joined.backup()


def test_a_second_signal(computer: Computer, tmp_path: Path) -> None:
    """The command does not wait any longer, not even for its server; and still says so."""
    data = tmp_path / "disk"
    computer.obnam("init", "--repository", str(data), "--no-passphrase")
    with TemporaryDirectory(dir="/tmp") as temporary:
        computer = evolve(computer, environment={**computer.environment, "TMPDIR": temporary})
        process = amid_a_backup(computer)
        listening = read_listening(data)
        assert listening is not None
        os.kill(listening.pid, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        server = os.pidfd_open(listening.pid)
        os.kill(listening.pid, signal.SIGCONT)
        assert select.select([server], [], [], 30) == ([server], [], [])
        os.close(server)
        assert (process.returncode, out) == (128 + signal.SIGINT, "")
        assert err.splitlines()[-1].startswith("obnam: ended by SIGINT")
        assert list(Path(temporary).iterdir()) == []
    assert processes_of(computer) == []
    computer.backup()


_EARLY = """
import os, signal, sys
from obnam.cli import main, session
number = int(sys.argv[1])
signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it
session.Session.run = lambda *_: os.kill(os.getpid(), number)
main.main(["backup"])
"""
"""``obnam backup``, with a signal before there is a reactor, and after a server was started."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_early_signal(computer: Computer, tmp_path: Path, number: signal.Signals) -> None:
    """While it imports: one line, and nothing stays, neither of it nor of its server."""
    computer.obnam("init", "--repository", str(tmp_path / "disk"), "--no-passphrase")
    with TemporaryDirectory(dir="/tmp") as temporary:
        ended = subprocess.run(
            [sys.executable, "-c", _EARLY, str(number.value)],
            env={**computer.environment, "TMPDIR": temporary},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 128 + number, ended.stderr
        assert ended.stderr.startswith(f"obnam: ended by {number.name}")
        assert list(Path(temporary).iterdir()) == []
