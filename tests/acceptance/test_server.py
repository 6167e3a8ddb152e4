"""The server from outside: is it the right one, is it there, does it keep what it has."""

import socket
from pathlib import Path

import pytest
import trustme

from tests.acceptance.computer import TWISTD, Computer, tree
from tests.support.raw_connection import plain, secured
from tests.support.server_process import ServerProcess


@pytest.fixture
def own_server(tmp_path: Path) -> ServerProcess:
    """A server of this test's own, not started; its certificate is an authority's."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    folder = tmp_path / "server"
    folder.mkdir()
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    chain = folder / "chain.pem"
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(chain, append=True)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    more = f"certificate: {chain}\nprivate_key: {folder / 'key.pem'}\n"
    return ServerProcess(folder, more=more, program=TWISTD)


def test_self_signed_is_refused(computer: Computer, invitation: str) -> None:
    """Without the pin there is no reason to believe the server's own certificate."""
    complaint = computer.refused("init", invitation.rpartition(".")[0], "--no-passphrase", code=1)
    assert "is not trusted" in complaint
    assert not computer.secrets.exists()


def test_another_servers_pin_is_refused(joined: Computer) -> None:
    """A server with another key than at the beginning gets no token, and no data."""
    lines = joined.secrets.read_text().splitlines(keepends=True)
    lines = [f'pin: "{"A" * 42}E"\n' if line.startswith("pin:") else line for line in lines]
    joined.secrets.write_text("".join(lines))
    assert "not the pinned one" in joined.refused("backup", code=1)


def test_https_is_required(joined: Computer, invitation: str, tmp_path: Path) -> None:
    joined.configure([joined.live], "server_url: http://127.0.0.1:1\n")
    complaint = joined.refused("backup")
    assert "server_url" in complaint
    assert "use https: instead of http:" in complaint
    other = Computer.new(tmp_path / "other")
    plain = invitation.replace("https:", "http:")
    assert "https:" in other.refused("init", plain, "--no-passphrase")


def test_authority_and_persistence(
    own_server: ServerProcess, computer: Computer, tmp_path: Path
) -> None:
    """By an authority's certificate; and what was stored is there after a restart."""
    own_server.start()
    try:
        invitation = own_server.invite("laptop")
        assert "." not in invitation.partition("#")[2], "an authority's certificate needs no pin"
        computer.configure([computer.live], f"trusted_certificates: {tmp_path}/authority.pem\n")
        computer.obnam("init", invitation, "--no-passphrase")
        (computer.live / "file").write_text("dear")
        computer.backup()
        own_server.restart()
        more = f"trusted_certificates: {tmp_path}/authority.pem\nserver_url: {own_server.url}\n"
        computer.configure([computer.live], more)
        computer.backup()
        assert len(computer.obnam("list").lines) == 2
        assert computer.reasons()["file"] == "unchanged"
        assert tree(computer.restored("latest~1")) == tree(computer.live)
    finally:
        own_server.stop()


def test_not_reachable(joined: Computer) -> None:
    """Tried for some seconds, then said."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and not listening: a refusal
        joined.configure([joined.live], f"server_url: https://127.0.0.1:{unused.getsockname()[1]}")
        done = joined.obnam("status", code=1)
    assert "cannot be reached" in done.complaint
    assert "trying again in" in done.err


def test_not_tls(joined: Computer) -> None:
    """Something that does not speak TLS at all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(30)
        joined.configure([joined.live], f"server_url: https://127.0.0.1:{port}")
        process = joined.start("status")
        while process.poll() is None:
            listening.settimeout(0.2)
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        _, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert f"127.0.0.1:{port}" in err.splitlines()[-1]


def test_the_server_speaks_tls_only(server: ServerProcess) -> None:
    """Nothing is answered in clear, and old versions of TLS are refused."""
    with plain(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in connection.recv(4096)
    with secured(server) as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
