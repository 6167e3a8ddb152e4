"""The units in ``docs/operations/systemd``, and a server that is started as they say."""

import shutil
import ssl
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from obnam_server.config import load
from obnam_server.tap import Options
from tests.support.server_process import ServerProcess

UNITS = Path(__file__).parents[3] / "docs" / "operations" / "systemd"
TWISTD = Path(sys.executable).parent / "twistd"
EXPOSURE_MAX = 20
"""Tenths, as `systemd-analyze security` counts: 0 is safe, 100 is not."""

STARTED_BY_SYSTEMD = """
import ctypes, os, socket, sys

listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="port", LISTEN_PID=str(os.getpid()))
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # NoNewPrivileges
os.execv(sys.argv[1], sys.argv[1:])
"""


class Unit(RawConfigParser):
    """A unit file. A key may be there several times; the last one is kept."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read(UNITS / name)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_the_service_starts_what_there_is() -> None:
    service = Unit("obnam-server.service")["Service"]
    command, *arguments = service["ExecStart"].split()
    assert Path(command).name == TWISTD.name
    at = arguments.index("obnam-server")
    assert arguments[:at] == ["--nodaemon", "--pidfile="]
    option, path = arguments[at + 1 :]
    assert [option.removeprefix("--")] == [name for name, *_ in Options.optParameters[:1]]
    assert path == "/etc/obnam/server.yaml"
    assert service["ExecReload"] == "kill -HUP $MAINPID"
    assert (service["StateDirectory"], service["StateDirectoryMode"]) == ("obnam", "0700")
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    # TLS does not start with it (tried with prctl(PR_SET_MDWE), cffi 2.1 and pyOpenSSL 26.4).
    assert "MemoryDenyWriteExecute" not in service


def test_the_socket_fits_what_is_to_be_configured(tmp_path: Path) -> None:
    text = (UNITS / "obnam-server.socket").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("#     listen:"))
    config = tmp_path / "server.yaml"
    config.write_text(f"data_directory: d\n{line.removeprefix('#').strip()}\n")
    assert load(config).listen == ("systemd:domain=INET6:index=0",)
    assert Unit("obnam-server.socket")["Socket"]["ListenStream"] == "[::]:8443"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    for name in ("obnam-server.service", "obnam-server.socket"):
        text = (UNITS / name).read_text().replace("/opt/obnam/bin/twistd", str(TWISTD))
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / "obnam-server.service"), str(tmp_path / "obnam-server.socket")]
    for command in (
        ["verify", "--man=no", *units],
        ["security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", "--no-pager", units[0]],
    ):
        ended = subprocess.run(
            ["systemd-analyze", *command], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stderr == ""


def test_it_is_given_its_port_and_may_do_little(tmp_path: Path) -> None:
    program = [sys.executable, "-c", STARTED_BY_SYSTEMD, sys.executable, "-m", "twisted"]
    server = ServerProcess(tmp_path / "server", program=[*program, "--log-format", "text"])
    listen = "listen: systemd:domain=INET:index=0"
    server.config.write_text(f"data_directory: {server.data}\n{listen}\n")
    with server:
        address = server.url.removeprefix("https://").split(":")
        assert address[0] == "127.0.0.1"
        invitation = server.invite("laptop")
        assert invitation.startswith(f"{server.url}/#")
        pem = ssl.get_server_certificate((address[0], int(address[1])))
    assert pem.strip() == (server.data / "certificate.pem").read_text().strip()
