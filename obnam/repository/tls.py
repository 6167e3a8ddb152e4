"""Whom to believe that it is the server: a certification authority, or a pinned key.

The pin of a certificate is the SHA-256 of its public key (DER SubjectPublicKeyInfo), as base64url
without padding; RFC 7469, 2.4, describes the same one. With a pin that key is all that counts:
neither who signed the certificate, nor the host name in it, nor its dates. An invitation carries
the pin, so it comes from the server's administrator and not over the connection.

Both kinds are decided within the TLS handshake, before a byte of a request is sent.
"""

import base64
import binascii
import hmac
import re
from hashlib import sha256
from typing import Any, NewType
from urllib.parse import urlsplit

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from obnam.errors import ConfigurationError
from obnam.repository import certificates
from obnam.wire.hosts import is_host

Pin = NewType("Pin", bytes)
"""SHA-256 of a DER SubjectPublicKeyInfo: 32 bytes."""

_PEM = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_NO_PIN = "the certificate's pin is not whole: it has 43 characters, all behind the last dot"

_VERIFY = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


def parse_pin(text: str) -> Pin:
    """The pin in an invitation or in the configuration. Raises ``ValueError``."""
    try:
        pin = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(_NO_PIN) from error
    if len(pin) != sha256().digest_size:
        raise ValueError(_NO_PIN)
    return Pin(pin)


def format_pin(pin: Pin) -> str:
    """The pin as text: 43 characters."""
    return base64.urlsafe_b64encode(pin).decode("ascii").rstrip("=")


def pin_of(certificate: crypto.X509) -> Pin:
    """The pin of a certificate. Raises ``ValueError`` or ``UnsupportedAlgorithm``."""
    key = certificate.to_cryptography().public_key()
    return Pin(sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())


def check_url(source: str, url: str) -> str:
    """``https://HOST[:PORT]`` as it is used from here on. Raises `ConfigurationError`.

    ``source`` is where the URL stands, for the message.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(source, f"{url!r} is not a URL") from error
    if parts.scheme == "http":
        raise ConfigurationError(
            source, f"{url!r}: a backup never travels unprotected; use https: instead of http:"
        )
    if parts.scheme != "https" or port == 0 or not is_host(url, host):
        raise ConfigurationError(source, f"{url!r} must be like https://backup.example.org:8443")
    if "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(source, f"{url!r} must be a host and a port, and nothing else")
    return f"https://{parts.netloc}"


@frozen
class Trust:
    """How a server is known: by ``pin``, or else by certification authorities.

    ``trusted_certificates`` is a PEM file with the authorities to believe; ``None``: those of
    the operating system.
    """

    pin: Pin | None = None
    trusted_certificates: str | None = None

    def why_refused(self, code: int, words: str) -> str:
        """What to say, and to do, when a certificate is refused; for OpenSSL's reason, if known."""
        if self.pin is not None:
            return certificates.other_key(format_pin(self.pin))
        path = self.trusted_certificates
        authorities = "the authorities this system knows" if path is None else f"those in {path}"
        return certificates.why_refused(code, words, authorities)


def policy(trust: Trust) -> IPolicyForHTTPS:
    """The policy for an agent that speaks to one server. Raises `ConfigurationError`."""
    if trust.pin is not None:
        return PinPolicy(trust.pin)
    return AuthorityPolicy(trust.trusted_certificates)


@implementer(IPolicyForHTTPS)
class AuthorityPolicy:
    """Believe certificates for the host's name (or address) that an authority has signed."""

    def __init__(self, path: str | None) -> None:
        self._trust_root = _authorities(path)
        self._known: dict[bytes, IOpenSSLClientConnectionCreator] = {}

    def creatorForNetloc(  # noqa: N802
        self, hostname: bytes, port: int
    ) -> IOpenSSLClientConnectionCreator:
        """See `IPolicyForHTTPS`. Kept, since reading the authorities takes milliseconds."""
        creator = self._known.get(hostname)
        if creator is None:
            creator = self._known[hostname] = optionsForClientTLS(
                hostname.decode("ascii"), trustRoot=self._trust_root
            )
        return creator


@implementer(IPolicyForHTTPS, IOpenSSLClientConnectionCreator)
class PinPolicy:
    """Believe the one whose certificate has the pinned key, whatever else is in it."""

    def __init__(self, pin: Pin) -> None:
        self._pin = pin
        options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2)
        self._context: SSL.Context = options.getContext()

    def creatorForNetloc(  # noqa: N802
        self, hostname: bytes, port: int
    ) -> IOpenSSLClientConnectionCreator:
        """See `IPolicyForHTTPS`."""
        return self

    def clientConnectionForTLS(  # noqa: N802
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: N803
    ) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        connection.set_verify(_VERIFY, self._is_pinned)
        connection.set_connect_state()
        return connection

    def _is_pinned(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
    ) -> bool:
        """OpenSSL asks this about each certificate of the chain, the server's own (depth 0) last.

        It is asked about a certificate again after each thing that is wrong with it.
        """
        if depth != 0:
            return True
        try:
            found = pin_of(certificate)
        except (ValueError, UnsupportedAlgorithm):
            return False  # Not a key that we can know: not the pinned one.
        return hmac.compare_digest(found, self._pin)


def _authorities(path: str | None) -> Any:
    """The certificates of a PEM file, or the system's, as Twisted's trust root.

    Raises `ConfigurationError`.
    """
    if path is None:
        return platformTrust()  # type: ignore[no-untyped-call]
    try:
        with open(path, "rb") as file:
            found = _PEM.findall(file.read())
        certificates = [Certificate.loadPEM(pem) for pem in found]
    except OSError as error:
        raise ConfigurationError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, crypto.Error) as error:
        raise ConfigurationError(path, "holds something that is not a certificate") from error
    if not certificates:
        raise ConfigurationError(path, "holds no certificate (PEM)")
    return trustRootFromCertificates(certificates)  # type: ignore[no-untyped-call]
