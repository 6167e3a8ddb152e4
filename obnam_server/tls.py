"""The server's certificate: a configured one, or a self-signed one made on first start.

A self-signed certificate proves nothing by its names; clients know it by the pin of its public
key, which is in their invitation.
"""

import datetime
import fcntl
import os
import socket
from base64 import urlsafe_b64encode
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from obnam.errors import ConfigurationError
from obnam_server.config import Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from OpenSSL.crypto import X509
    from twisted.internet.ssl import CertificateOptions

CERTIFICATE_FILE = "certificate.pem"
PRIVATE_KEY_FILE = "private-key.pem"

VALID_DAYS = 50 * 365
"""A pinned certificate is trusted by its key: one that expires would only stop backups."""

RENEW_DAYS = 14
"""From so long before its end on it is said that a certificate must be renewed."""


@frozen
class CertificateFiles:
    """Where the PEM files are."""

    certificate: Path
    private_key: Path


def certificate_files(settings: Settings) -> CertificateFiles:
    """The configured files, or those in the data directory, made now if there are none."""
    if settings.certificate is not None and settings.private_key is not None:
        return CertificateFiles(settings.certificate, settings.private_key)
    folder = settings.data_directory
    files = CertificateFiles(folder / CERTIFICATE_FILE, folder / PRIVATE_KEY_FILE)
    if not files.certificate.exists():
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not files.certificate.exists():
                secret, public = _self_signed()
                _write_private(files.private_key, secret)
                _write_private(files.certificate, public)
                os.fsync(lock)
        finally:
            os.close(lock)
    return files


def server_options(settings: Settings, files: CertificateFiles) -> "CertificateOptions":
    """What Twisted's TLS takes. Raises `ConfigurationError` for files that are no such pair.

    TLS 1.2 at least; 1.3, AES-GCM and session resumption as OpenSSL has them by default.
    """
    from OpenSSL import SSL, crypto
    from twisted.internet.ssl import CertificateOptions

    try:
        chain = _chain(files.certificate)
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, files.private_key.read_bytes())
        options = CertificateOptions(privateKey=key, certificate=chain[0], extraCertChain=chain[1:])
        options.getContext()
    except OSError as error:
        raise ConfigurationError(
            str(error.filename or settings.path), f"cannot be read: {error.strerror}"
        ) from error
    except (crypto.Error, SSL.Error, ValueError, IndexError) as error:
        raise ConfigurationError(
            str(settings.path),
            f"{files.certificate} and {files.private_key} are no PEM certificate and its key",
        ) from error
    return options


def pin_of(files: CertificateFiles) -> str | None:
    """What an invitation must say of the certificate; ``None``: an authority vouches for it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    certificate = load_pem_x509_certificate(files.certificate.read_bytes())
    if not _is_self_signed(certificate):
        return None
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return urlsafe_b64encode(sha256(key).digest()).decode("ascii").rstrip("=")


def problem_of_dates(files: CertificateFiles, now_ns: int) -> str | None:
    """What is, or soon will be, wrong with the dates of a certificate; ``None``: nothing.

    Those of one that clients know by its pin do not count. ``now_ns``: ns since the epoch.
    """
    from cryptography.x509 import load_pem_x509_certificate

    try:
        if pin_of(files) is not None:
            return None
        certificate = load_pem_x509_certificate(files.certificate.read_bytes())
    except (OSError, ValueError):
        return (
            None  # It is just being replaced; a reload follows, which says what is wrong with it.
        )
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.datetime.fromtimestamp(now_ns / 1e9, datetime.UTC)
    if now > ends:
        return f"has expired on {ends:%Y-%m-%d}, and no client accepts it; renew it"
    if now < begins:
        return (
            f"is valid from {begins:%Y-%m-%d %H:%M} (UTC) on only; is this computer's clock right?"
        )
    if now > ends - datetime.timedelta(days=RENEW_DAYS):
        return f"expires on {ends:%Y-%m-%d}; renew it before"
    return None


def _is_self_signed(certificate: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _write_private(path: Path, content: bytes) -> None:
    """A whole new file that only its owner can read, or none."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


def _self_signed() -> tuple[bytes, bytes]:
    """A new private key (ECDSA P-256) and its certificate, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname() or "localhost"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Obnam server")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    if host.isascii() and host != "localhost":
        names.append(x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret, certificate.public_bytes(Encoding.PEM)


def _chain(path: Path) -> "list[X509]":
    """All certificates of a PEM file, the server's own first."""
    from OpenSSL import crypto

    end = b"-----END CERTIFICATE-----"
    parts = path.read_bytes().split(end)[:-1]
    return [crypto.load_certificate(crypto.FILETYPE_PEM, part + end) for part in parts]
