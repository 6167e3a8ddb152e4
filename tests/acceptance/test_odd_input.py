"""Input that nobody expects: devices for files, texts that explode, a closed standard input."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.computer import COMMANDS, PATIENCE_S, TWISTD, Computer
from tests.support.server_process import ServerProcess

BOMB = "".join(f"&{b} [{f'*{a}, ' * 9}], " for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("roots: " + "[" * 20_000 + "]" * 20_000, "roots: a list is not a directory's name"),
        (f"roots: [[&a [x], {BOMB}]]", "roots: a list is not a directory's name"),
        ("? 0x" + "f" * 5000 + "\n: 1\n", "unknown key a number; the known keys are"),
        ("#" * (1 << 20) + "\n", "is larger than 1048576 bytes"),
        ("roots: [2026-99-99]", "is not YAML: month must be in 1..12"),
        ("roots: [/a\0]", "is not YAML: it holds the character 0x0"),
        ('trusted_certificates: "a\\0b"', "trusted_certificates: must be a text"),
        ("server_url: https://a b", "must be like https://"),
        ('server_url: "https://a\\nb"', "must be like https://"),
        ("server_url: https://a..b", "must be like https://"),
        ("server_url: 'https://[fe80::1%eth0]:8443'", "must be like https://"),
        (f"server_url: https://{'a' * 300}.org", "must be like https://"),
    ],
    ids=lambda text: text[:20],
)
def test_configuration(computer: Computer, text: str, named: str) -> None:
    computer.configuration.write_text(text)
    complaint = computer.refused("config")
    assert named in complaint
    assert len(complaint) < 1000


def test_a_device_for_a_configuration(computer: Computer) -> None:
    assert "is larger than" in computer.refused("--config", "/dev/zero", "config")


def test_certificates_of_nobody(computer: Computer) -> None:
    computer.configuration.write_text("trusted_certificates: ~no-such-user/x.pem\n")
    assert computer.obnam("config").json["trusted_certificates"].endswith("~no-such-user/x.pem")


def test_a_directory_for_secrets(computer: Computer) -> None:
    computer.secrets.mkdir()
    assert "secrets.yaml: cannot be read: Is a directory" in computer.refused("list")


def test_a_link_in_the_way_does_not_cost_the_invitation(
    computer: Computer, invitation: str
) -> None:
    computer.secrets.symlink_to(computer.folder / "nowhere")
    assert "is there already" in computer.refused("init", invitation, "--no-passphrase")
    assert os.listdir(computer.secrets.parent) == ["obnam.yaml", "secrets.yaml"]
    another = Computer.new(computer.folder / "another")
    another.obnam("init", invitation, "--no-passphrase")


@pytest.mark.parametrize("path", ["", "two\nlines", "\udcff"])
def test_a_directory_that_cannot_be_written_down(computer: Computer, path: str) -> None:
    """It is kept in ``secrets.yaml``, a text, and is to be found again from there."""
    complaint = computer.refused("init", "--repository", path, "--no-passphrase")
    assert "--repository: name a directory" in complaint
    assert sorted(os.listdir(computer.folder)) == [".config", "live"]


def test_a_closed_standard_input(joined: Computer) -> None:
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", str(COMMANDS / "obnam"), "key", "add"],
        env=dict(joined.environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.endswith("there is no terminal to ask at; use --passphrase-file\n")
    assert len(ended.stderr.splitlines()) == 1


def test_a_full_standard_error(computer: Computer) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [COMMANDS / "obnam", "nonsense"],
            env=dict(computer.environment),
            stderr=full,
            timeout=PATIENCE_S,
            check=False,
        )
    assert ended.returncode == 2


def test_no_home(computer: Computer) -> None:
    nobody = Computer(computer.folder, {**computer.environment, "HOME": "relative"})
    assert nobody.refused("list") == (
        "obnam: there is no home directory: set HOME, or XDG_CONFIG_HOME"
    )


def _has_ip6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_server_with_an_address_of_ip6(tmp_path: Path) -> None:
    if not _has_ip6():
        pytest.skip("this system has no IPv6")
    server = ServerProcess(tmp_path / "server", program=TWISTD)
    text = server.config.read_text().replace("tcp:0:interface=127.0.0.1", r"tcp6:0:interface=\:\:1")
    server.config.write_text(text)
    computer = Computer.new(tmp_path / "computer")
    (computer.live / "file").write_text("over IPv6")
    with server:
        assert server.url.startswith("https://[::1]:")
        computer.obnam("init", server.invite("laptop"), "--no-passphrase")
        computer.backup()
        assert (computer.restored() / "file").read_text() == "over IPv6"
