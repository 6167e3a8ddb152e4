"""Whom the client believes to be the server, over real TLS on loopback."""

import datetime
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
import trustme
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory

from obnam.errors import ConfigurationError, ObnamError, ServerUnreachable, UntrustedServer
from obnam.model.ids import SessionId, parse_chunk_id
from obnam.repository import connect
from obnam.repository.connect import open_tls
from obnam.repository.tls import Pin, Trust, parse_pin, pin_of, policy
from obnam.transport import refused
from obnam.wire.limits import ANSWER_HEADER_MAX
from tests.support.hostile_scene import until
from tests.support.hostile_server import (
    ENDLESS_HEADS,
    HostileConnection,
    HostileServer,
    answer,
)

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor

SESSION = SessionId("0" * 32)
CHUNK = parse_chunk_id(bytes([1]) * 33)
WRONG_PIN = Pin(bytes(32))


@define
class Servers:
    """Starts servers with TLS, and ends them."""

    ports: list[Any] = field(factory=list)
    servers: list[HostileServer] = field(factory=list)

    def start(self, issued: trustme.LeafCert) -> tuple[str, HostileServer]:
        """A server that says of every chunk that it is there."""
        server = HostileServer(lambda connection, _: connection.send(answer(b"\x00")))
        pem = issued.private_key_and_cert_chain_pem.bytes()
        loaded = PrivateCertificate.loadPEM(pem)  # type: ignore[no-untyped-call]
        factory = TLSMemoryBIOFactory(loaded.options(), False, server, reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.ports.append(port)
        self.servers.append(server)
        return f"https://127.0.0.1:{port.getHost().port}", server


@pytest_twisted.async_yield_fixture
async def servers() -> AsyncIterator[Servers]:
    servers = Servers()
    yield servers
    for port in servers.ports:
        await port.stopListening()
    for server in servers.servers:
        server.abort()


def pin(issued: trustme.LeafCert) -> Pin:
    pem = issued.cert_chain_pems[0].bytes()
    return pin_of(Certificate.loadPEM(pem).original)


async def asked(url: str, trust: Trust) -> object:
    """One question to a server, and the answer or the error."""
    repository = open_tls(reactor, url, "secret-token", trust)
    try:
        return await repository.missing(SESSION, [CHUNK])
    except ObnamError as error:
        return error
    finally:
        await repository.close()


def expired(ca: trustme.CA, *names: str) -> trustme.LeafCert:
    return ca.issue_cert(
        *names,
        not_before=datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC),
        not_after=datetime.datetime(2002, 1, 1, tzinfo=datetime.UTC),
    )


def not_yet_valid(ca: trustme.CA, *names: str) -> trustme.LeafCert:
    return ca.issue_cert(
        *names,
        not_before=datetime.datetime(2201, 1, 1, tzinfo=datetime.UTC),
        not_after=datetime.datetime(2202, 1, 1, tzinfo=datetime.UTC),
    )


@ensure
async def test_the_pinned_key(servers: Servers) -> None:
    """Neither names nor dates count."""
    issued = expired(trustme.CA(), "elsewhere.example")
    url, server = servers.start(issued)
    assert await asked(url, Trust(pin=pin(issued))) == [False]
    assert b"secret-token" in server.requests[0]


@ensure
async def test_another_key_than_the_pinned_one(servers: Servers) -> None:
    url, server = servers.start(trustme.CA().issue_cert("127.0.0.1"))
    error = await asked(url, Trust(pin=WRONG_PIN))
    assert isinstance(error, UntrustedServer)
    assert not error.temporary
    assert "not the pinned one, AAAA" in str(error)
    assert server.requests == []


@ensure
async def test_a_pin_is_not_outvoted_by_an_authority(servers: Servers, tmp_path: Path) -> None:
    ca = trustme.CA()
    url, server = servers.start(ca.issue_cert("127.0.0.1"))
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    error = await asked(url, Trust(WRONG_PIN, str(tmp_path / "ca.pem")))
    assert isinstance(error, UntrustedServer)
    assert server.requests == []


@ensure
async def test_the_key_of_another_certificate_in_the_chain(servers: Servers) -> None:
    """The pin is of the server's own key: who has only the authority's certificate has nothing."""
    ca = trustme.CA()
    middle = ca.create_child_ca()
    issued = middle.issue_cert("127.0.0.1")
    url, server = servers.start(issued)
    above = pin_of(Certificate.loadPEM(middle.cert_pem.bytes()).original)
    assert isinstance(await asked(url, Trust(pin=above)), UntrustedServer)
    assert server.requests == []


@ensure
async def test_a_trusted_authority(servers: Servers, tmp_path: Path) -> None:
    ca = trustme.CA()
    url, _ = servers.start(ca.issue_cert("127.0.0.1"))
    both = trustme.CA().cert_pem.bytes() + b"some words\n" + ca.cert_pem.bytes()
    (tmp_path / "ca.pem").write_bytes(both)
    assert await asked(url, Trust(trusted_certificates=str(tmp_path / "ca.pem"))) == [False]


NO_AUTHORITY = "vouches for its certificate. Name the authority's certificate as `trusted_"
UNTRUSTED = {
    "self-signed": "nobody but itself vouches for its certificate. Name that as `trusted_",
    "authority": f"ca.pem {NO_AUTHORITY}",
    "chain": f"ca.pem {NO_AUTHORITY}",
    "between": f"ca.pem {NO_AUTHORITY}",
    "system": f"none of the authorities this system knows {NO_AUTHORITY}",
    "name": "its certificate is for another name. Use the one that it is for (`server_url`",
    "expired": "has expired. Have its administrator renew it; or set this computer's clock",
    "not yet": "is not valid yet. Set this computer's clock",
    "purpose": "its certificate is not good: unsuitable certificate purpose. Its administrator",
}


SINCE = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
UNTIL = datetime.datetime(2201, 1, 1, tzinfo=datetime.UTC)


def key_of(ca: trustme.CA) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def for_clients(ca: trustme.CA) -> trustme.LeafCert:
    """A certificate of an authority that does not let its owner be a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    above = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(SINCE)
        .not_valid_after(UNTIL)
        .add_extension(alternative, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .sign(key_of(ca), SHA256())
    )
    return leaf(key, certificate)


def self_signed() -> trustme.LeafCert:
    """A certificate that is its own authority's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alone")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(SINCE)
        .not_valid_after(UNTIL)
        .add_extension(alternative, critical=False)
        .sign(key, SHA256())
    )
    return leaf(key, certificate)


def leaf(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> trustme.LeafCert:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return trustme.LeafCert(pem, certificate.public_bytes(Encoding.PEM), [])


@pytest.mark.parametrize("kind", UNTRUSTED)
@ensure
async def test_untrusted(servers: Servers, tmp_path: Path, kind: str) -> None:
    """What is said is what is wrong, and leads to its end."""
    ca = trustme.CA()
    middle = ca.create_child_ca()
    makers: dict[str, Callable[[], trustme.LeafCert]] = {
        "not yet": lambda: not_yet_valid(ca, "127.0.0.1"),
        "name": lambda: ca.issue_cert("elsewhere.example"),
        "expired": lambda: expired(ca, "127.0.0.1"),
        "self-signed": self_signed,
        "chain": lambda: middle.issue_cert("127.0.0.1"),
        "between": lambda: without_chain(middle.issue_cert("127.0.0.1")),
        "purpose": lambda: for_clients(ca),
    }
    issued = makers.get(kind, lambda: ca.issue_cert("127.0.0.1"))()
    believed = trustme.CA() if kind in ("authority", "chain") else ca
    believed.cert_pem.write_to_path(tmp_path / "ca.pem")
    url, server = servers.start(issued)
    path = None if kind == "system" else str(tmp_path / "ca.pem")
    error = await asked(url, Trust(trusted_certificates=path))
    assert isinstance(error, UntrustedServer)
    assert UNTRUSTED[kind] in str(error)
    assert not error.temporary
    assert "\n" not in str(error)
    assert server.requests == []


def without_chain(issued: trustme.LeafCert) -> trustme.LeafCert:
    """As its administrator serves it who has left out all others."""
    key, alone = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    return trustme.LeafCert(key, alone, [])


@pytest.mark.parametrize("trust", [Trust(), Trust(pin=WRONG_PIN)], ids=["authority", "pin"])
@ensure
async def test_without_a_reason_it_is_refused_all_the_same(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, trust: Trust
) -> None:
    monkeypatch.setattr(refused, "_known", False)
    url, server = servers.start(trustme.CA().issue_cert("127.0.0.1"))
    error = await asked(url, trust)
    assert isinstance(error, UntrustedServer)
    said = "not the pinned one" if trust.pin else "its certificate cannot be verified"
    assert said in str(error)
    assert server.requests == []


@ensure
async def test_closing_does_not_wait_for_a_goodbye(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But says it: nobody is to take this for a connection that broke off."""
    monkeypatch.setattr(connect, "CLOSE_S", 3600.0)
    issued = trustme.CA().issue_cert("127.0.0.1")
    url, server = servers.start(issued)
    endings: list[Any] = []
    lost = HostileConnection.connectionLost

    def note(connection: HostileConnection, reason: Any) -> None:
        endings.append(reason.value)
        lost(connection, reason)

    monkeypatch.setattr(HostileConnection, "connectionLost", note)
    repository = open_tls(reactor, url, "secret-token", Trust(pin=pin(issued)))
    assert await repository.missing(SESSION, [CHUNK]) == [False]
    (connection,) = server.connections
    below: Any = connection.transport.transport  # type: ignore[union-attr]
    below.pauseProducing()  # it hears nothing for now
    await repository.close()
    assert not endings
    below.resumeProducing()
    await until(lambda: endings)
    assert [type(each) for each in endings] == [ConnectionDone]


@pytest.mark.parametrize("head", ENDLESS_HEADS.values(), ids=ENDLESS_HEADS)
@ensure
async def test_a_head_that_never_ends(servers: Servers, head: bytes) -> None:
    """Pieces come as TLS gives them: should Twisted change what `heads` leans on, this tells."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    url, server = servers.start(issued)
    server.reply = lambda connection, _: connection.send(head)
    asking = Deferred.fromCoroutine(asked(url, Trust(pin=pin(issued))))
    try:
        await until(lambda: server.lost)  # and not only after a minute of silence
    finally:
        server.abort()
    assert isinstance(await asking, ServerUnreachable)


@ensure
async def test_heads_of_many_answers(servers: Servers) -> None:
    """Each is counted by itself, and all of them come over one connection."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    url, server = servers.start(issued)
    more = [f"X-{number}: {'y' * 1000}" for number in range(20)]
    server.reply = lambda connection, _: connection.send(answer(b"\x00", "200 OK", *more))
    repository = open_tls(reactor, url, "secret-token", Trust(pin=pin(issued)))
    for _ in range(2 + ANSWER_HEADER_MAX // 20_000):
        assert await repository.missing(SESSION, [CHUNK]) == [False]
    assert len(server.connections) == 1
    await repository.close()


class NoTls(Protocol):
    """An HTTP server that is surprised by TLS."""

    received = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        type(self).received += data
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@ensure
async def test_a_server_without_tls() -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(NoTls), interface="127.0.0.1")
    error = await asked(f"https://127.0.0.1:{port.getHost().port}", Trust(pin=WRONG_PIN))
    await port.stopListening()
    assert isinstance(error, UntrustedServer)
    assert "no TLS" in str(error)
    assert NoTls.received
    assert b"secret" not in NoTls.received


@pytest.mark.parametrize("content", [None, b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n"
                                     b"-----END CERTIFICATE-----\n"])  # fmt: skip
def test_bad_files_of_authorities(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ca\.pem: "):
        policy(Trust(trusted_certificates=str(path)))


@pytest.mark.parametrize("text", ["", "A" * 42, "A" * 44, "!" * 43, "A" * 42 + "é", "A" * 42 + "="])
def test_bad_pins(text: str) -> None:
    with pytest.raises(ValueError, match="pin"):
        parse_pin(text)
