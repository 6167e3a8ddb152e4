"""The certificate: made once, private, known by its pin; or a configured one."""

import stat
import subprocess
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

from obnam.errors import ConfigurationError
from obnam_server.config import Settings
from obnam_server.tls import CertificateFiles, certificate_files, pin_of, server_options


def settings(folder: Path, files: CertificateFiles | None = None) -> Settings:
    return Settings(
        folder / "server.yaml",
        folder,
        certificate=files.certificate if files else None,
        private_key=files.private_key if files else None,
    )


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    files = certificate_files(settings(tmp_path))
    before = files.certificate.read_bytes(), files.private_key.read_bytes()
    assert stat.S_IMODE(files.private_key.stat().st_mode) == 0o600
    again = certificate_files(settings(tmp_path))
    assert (again.certificate.read_bytes(), again.private_key.read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"certificate.pem", "private-key.pem"}


def test_a_crash_between_the_two_files_is_made_good(tmp_path: Path) -> None:
    files = certificate_files(settings(tmp_path))
    files.certificate.unlink()
    (tmp_path / "private-key.pem.new").write_text("half")
    files = certificate_files(settings(tmp_path))
    server_options(settings(tmp_path), files)


def test_the_pin_is_the_hash_of_the_public_key(tmp_path: Path) -> None:
    files = certificate_files(settings(tmp_path))
    key = subprocess.run(
        ["openssl", "pkey", "-in", files.private_key, "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    expected = urlsafe_b64encode(sha256(key).digest()).rstrip(b"=").decode("ascii")
    assert pin_of(files) == expected


def test_the_certificate_of_an_authority_needs_no_pin(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("backup.example.org")
    files = CertificateFiles(tmp_path / "chain.pem", tmp_path / "key.pem")
    server.private_key_pem.write_to_path(str(files.private_key))
    for part in [*server.cert_chain_pems, authority.cert_pem]:
        part.write_to_path(str(files.certificate), append=True)
    configured = settings(tmp_path, files)
    assert certificate_files(configured) == files
    assert pin_of(files) is None
    options = server_options(configured, files)
    assert len(options.extraCertChain) == 1


def test_files_that_are_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (certificate_files(settings(tmp_path / name)) for name in "ab")
    mixed = CertificateFiles(one.certificate, other.private_key)
    junk = tmp_path / "junk"
    junk.write_text("no PEM")
    for files in (
        mixed,
        CertificateFiles(junk, one.private_key),
        CertificateFiles(one.certificate, junk),
        CertificateFiles(tmp_path / "missing", one.private_key),
    ):
        with pytest.raises(ConfigurationError) as caught:
            server_options(settings(tmp_path, files), files)
        assert "\n" not in str(caught.value)
