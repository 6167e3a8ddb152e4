"""SIGHUP to a real server: a new certificate and new settings, or the old ones stay."""

import os
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from obnam_server.tls import _self_signed
from tests.support.raw_connection import secured
from tests.support.server_process import ServerProcess

RELOADED = "Reloaded the certificate and"
NOT_RELOADED = "Not reloaded, the settings stay as they were"


class Certificates:
    """The PEM files that a server is configured with."""

    def __init__(self, folder: Path) -> None:
        self.private_key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        self.renew()

    def renew(self) -> bytes:
        """New ones; the certificate as it will be on the wire."""
        secret, public = _self_signed()
        self.private_key.write_bytes(secret)
        self.certificate.write_bytes(public)
        return ssl.PEM_cert_to_DER_cert(public.decode("ascii"))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def server(tmp_path: Path, certificates: Certificates) -> Iterator[ServerProcess]:
    more = f"certificate: {certificates.certificate}\nprivate_key: {certificates.private_key}\n"
    with ServerProcess(tmp_path / "server", more=more) as running:
        yield running


def certificate_of(server: ServerProcess) -> bytes:
    with secured(server) as connection:
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return found


def hang_up(server: ServerProcess, answer: str) -> str:
    """Send the signal; the line of the log that answers it."""
    server.log.clear()
    os.kill(server.pid, signal.SIGHUP)
    return server.wait_for(answer)


def test_new_connections_have_the_new_certificate(
    server: ServerProcess, certificates: Certificates
) -> None:
    before = certificate_of(server)
    with secured(server) as old:
        renewed = certificates.renew()
        line = hang_up(server, RELOADED)
        assert "no changed setting; needs a restart: nothing" in line
        assert certificate_of(server) == renewed != before
        # What is connected goes on as it was.
        old.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert old.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("broken", ["certificate", "pair", "missing", "yaml", "key"])
def test_what_cannot_be_used_is_not_used(
    server: ServerProcess, certificates: Certificates, broken: str
) -> None:
    before, configuration = certificate_of(server), server.config.read_text()
    other = certificates.private_key.read_bytes()
    certificates.renew()
    if broken == "certificate":
        certificates.certificate.write_text("no certificate")
    elif broken == "pair":
        certificates.private_key.write_bytes(other)
    elif broken == "missing":
        certificates.certificate.unlink()
    elif broken == "yaml":
        server.config.write_text("{")
    else:
        server.config.write_text(configuration + "listen_on: x\n")
    line = hang_up(server, NOT_RELOADED)
    assert str(server.folder.parent) in line
    assert certificate_of(server) == before
    server.config.write_text(configuration)
    renewed = certificates.renew()
    hang_up(server, RELOADED)
    assert certificate_of(server) == renewed


def test_what_changed_and_what_needs_a_restart_is_named(server: ServerProcess) -> None:
    text = server.config.read_text().replace("tcp:0:", "tcp:1:")
    server.config.write_text(f"{text}public_url: https://example.org\nmetrics_listen: tcp:2\n")
    line = hang_up(server, RELOADED)
    assert "and public_url; needs a restart: listen, metrics_listen" in line
    assert server.invite("laptop").startswith("https://example.org/#")


def test_many_signals_are_as_good_as_one(server: ServerProcess, certificates: Certificates) -> None:
    """None is lost: the last one finds what was there when it came."""
    for _ in range(20):
        renewed = certificates.renew()
        os.kill(server.pid, signal.SIGHUP)
    hang_up(server, RELOADED)
    while certificate_of(server) != renewed:
        hang_up(server, RELOADED)
    assert "Traceback" not in server.log_text


def test_an_expired_certificate_is_told_of(
    server: ServerProcess, certificates: Certificates
) -> None:
    """One that an authority signed: clients look at the dates of no other."""
    issued = trustme.CA().issue_cert(
        "backup.example.org",
        not_before=datetime(2001, 1, 1, tzinfo=UTC),
        not_after=datetime(2002, 1, 1, tzinfo=UTC),
    )
    issued.cert_chain_pems[0].write_to_path(str(certificates.certificate))
    issued.private_key_pem.write_to_path(str(certificates.private_key))
    told = "The certificate has expired on 2002-01-01, and no client accepts it; renew it"
    hang_up(server, told)
    server.wait_for(RELOADED)
    server.stop()
    server.log.clear()
    server.start()
    server.wait_for(told)
