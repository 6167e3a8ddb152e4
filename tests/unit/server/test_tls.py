"""The certificate: made once, private, known by its pin; or a configured one."""

import stat
import subprocess
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

from obnam.errors import ConfigurationError
from obnam_server.config import Settings
from obnam_server.tls import (
    CertificateFiles,
    certificate_files,
    pin_of,
    problem_of_dates,
    server_options,
)


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


@pytest.mark.parametrize(
    ("day", "problem"),
    [
        ("2030-05-31", "is valid from 2030-06-01 00:00 (UTC) on only"),
        ("2030-06-02", None),
        ("2030-06-17", "expires on 2030-07-01; renew it before"),
        ("2030-07-02", "has expired on 2030-07-01, and no client accepts it"),
    ],
)
def test_dates_of_an_authoritys_certificate(tmp_path: Path, day: str, problem: str | None) -> None:
    issued = trustme.CA().issue_cert(
        "backup.example.org",
        not_before=datetime(2030, 6, 1, tzinfo=UTC),
        not_after=datetime(2030, 7, 1, tzinfo=UTC),
    )
    files = CertificateFiles(tmp_path / "chain.pem", tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(str(files.certificate))
    now_ns = round(datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()) * 10**9
    found = problem_of_dates(files, now_ns)
    assert (found or "").startswith(problem or "")
    assert (found is None) == (problem is None)


def test_dates_of_a_pinned_certificate_do_not_count(tmp_path: Path) -> None:
    files = certificate_files(settings(tmp_path))
    assert problem_of_dates(files, 10**9 * 60 * 60 * 24 * 365 * 200) is None
