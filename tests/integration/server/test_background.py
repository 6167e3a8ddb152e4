"""A server that twistd puts into the background."""

import os
import select
import signal
import subprocess
from pathlib import Path

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD
from tests.support.server_process import ServerProcess

PATIENCE_S = 60.0


def start(server: ServerProcess, folder: Path) -> "subprocess.CompletedProcess[str]":
    """``twistd`` as it is started by hand; it returns when the server runs, or does not."""
    return subprocess.run(
        [
            *(TWISTD[0], f"--pidfile={folder / 'pid'}", f"--logfile={folder / 'log'}"),
            *("obnam-server", "--config", server.config),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_it_says_when_it_cannot_start(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")
    with server:
        ended = start(server, tmp_path)
    assert ended.returncode == 1
    assert "in use by process" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert f"obnam-server: {server.data}"[:90] in ended.stderr
    assert not (tmp_path / "pid").exists()


def test_it_runs(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")
    ended = start(server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    process = int((tmp_path / "pid").read_text())
    descriptor = os.pidfd_open(process)
    try:
        # It answers once it runs, and then it has said where.
        Administrator(server.config).json("status")
        assert server.url.startswith("https://")
    finally:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        assert select.select([descriptor], [], [], PATIENCE_S)[0]
        os.close(descriptor)
