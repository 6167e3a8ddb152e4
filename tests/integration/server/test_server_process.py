"""A real process over TLS: starting, serving, stopping, being killed."""

import os
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.base import ReactorBase
from twisted.internet.defer import gatherResults

from obnam.errors import AccessDenied, UntrustedServer
from obnam.repository import tls
from obnam.repository.connect import Connections, tls_exchange
from obnam.repository.http import HttpRepository
from obnam.wire.frames import pack_header
from obnam.wire.limits import MIB, UPLOAD_BODY_MAX
from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD
from tests.support.clients import client_of, enrolled
from tests.support.raw_backup import chunk_id
from tests.support.raw_connection import plain, secured, trusting
from tests.support.server_process import ServerProcess


def body_of(first: int, size: int = 512 * 1024, count: int = 31) -> memoryview:
    """An upload of nearly 16 MiB; each chunk has other bytes."""
    parts = []
    for number in range(first, first + count):
        parts += [pack_header(chunk_id(number), size), number.to_bytes(8, "big") * (size // 8)]
    return memoryview(b"".join(parts))


def upload_head(token: str, session: str, length: int) -> bytes:
    """A request that waits for "100 Continue", by which it is known to be under way."""
    return (
        f"POST /v1/chunks HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
        f"Obnam-Session: {session}\r\nContent-Length: {length}\r\n"
        f"Expect: 100-continue\r\n\r\n"
    ).encode("ascii")


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest_twisted.ensureDeferred
async def test_chunks_go_and_come_back_over_tls(
    server: ServerProcess, reactor: ReactorBase
) -> None:
    _, _, token = await enrolled(reactor, server.invite("laptop"))
    async with client_of(reactor, server, token) as repository:
        description = await repository.describe()
        assert (description.client, description.repository) == ("laptop", "laptop")
        session = await repository.begin_session(None)
        bodies = [body_of(100 * n) for n in range(4)]
        assert UPLOAD_BODY_MAX - MIB < len(bodies[0]) <= UPLOAD_BODY_MAX
        await gatherResults([repository.store(session, body) for body in bodies])
        ids = [chunk_id(100 * n + 3) for n in range(4)] + [chunk_id(10**6)]
        assert list(await repository.missing(session, ids)) == [False] * 4 + [True]
        into = memoryview(bytearray(4 * MIB))
        found = await repository.fetch(ids, into)
        for n, frame in enumerate(found[:4]):
            piece = into[frame.offset : frame.offset + frame.length]
            assert piece == (100 * n + 3).to_bytes(8, "big") * (MIB // 16)
        assert found[4].length == 0


@pytest_twisted.ensureDeferred
async def test_a_wrong_pin_is_not_trusted(server: ServerProcess, reactor: ReactorBase) -> None:
    connections = Connections.none_yet(reactor)
    trust = tls.Trust(pin=tls.parse_pin("A" * 43))
    repository = HttpRepository(
        tls_exchange(connections, server.url, "x", trust), connections.close
    )
    try:
        with pytest.raises(UntrustedServer):
            await repository.describe()
    finally:
        await repository.close()


@pytest_twisted.ensureDeferred
async def test_revoking_takes_effect_on_open_connections(
    server: ServerProcess, reactor: ReactorBase
) -> None:
    _, _, token = await enrolled(reactor, server.invite("stolen"))
    async with client_of(reactor, server, token) as repository:
        await repository.describe()
        Administrator(server.config).done("client", "revoke", "stolen")
        with pytest.raises(AccessDenied):
            await repository.describe()


@pytest_twisted.ensureDeferred
async def test_a_restart_keeps_sessions_and_chunks(tmp_path: Path, reactor: ReactorBase) -> None:
    with ServerProcess(tmp_path) as server:
        _, _, token = await enrolled(reactor, server.invite("laptop"))
        async with client_of(reactor, server, token) as repository:
            session = await repository.begin_session(None)
            await repository.store(session, body_of(0))
        server.stop()
        assert not (server.data / "listening.json").exists()
        for end in (server.stop, server.kill):
            server.start()
            async with client_of(reactor, server, token) as repository:
                await repository.store(session, body_of(1000))
                ids = [chunk_id(0), chunk_id(1000), chunk_id(2000)]
                assert list(await repository.missing(session, ids)) == [False, False, True]
            end()
        server.start()
        async with client_of(reactor, server, token) as repository:
            into = memoryview(bytearray(2 * MIB))
            (frame,) = await repository.fetch([chunk_id(1001)], into)
            assert frame.length == 512 * 1024


@pytest_twisted.ensureDeferred
async def test_sigterm_answers_what_is_under_way(tmp_path: Path, reactor: ReactorBase) -> None:
    with ServerProcess(tmp_path) as server:
        _, _, token = await enrolled(reactor, server.invite("laptop"))
        async with client_of(reactor, server, token) as repository:
            session = await repository.begin_session(None)
        frames = bytes(body_of(0))
        with secured(server) as connection:
            connection.sendall(upload_head(token, session, len(frames)))
            assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the upload is under way
            connection.sendall(frames[: len(frames) // 2])
            os.kill(server.pid, 15)
            connection.sendall(frames[len(frames) // 2 :])
            assert connection.recv(1000).startswith(b"HTTP/1.1 204")
        server.stop()
        server.start()
        async with client_of(reactor, server, token) as repository:
            assert list(await repository.missing(session, [chunk_id(30)])) == [False]


@pytest_twisted.ensureDeferred
async def test_half_a_body_and_gone_leaves_nothing(tmp_path: Path, reactor: ReactorBase) -> None:
    with ServerProcess(tmp_path) as server:
        _, _, token = await enrolled(reactor, server.invite("laptop"))
        async with client_of(reactor, server, token) as repository:
            session = await repository.begin_session(None)
        incoming = server.data / "repositories" / "laptop" / "incoming"
        frames = bytes(body_of(0))
        with secured(server) as connection:
            connection.sendall(upload_head(token, session, len(frames)))
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            connection.sendall(frames[: len(frames) // 2])
        server.stop()
        assert not list(incoming.iterdir())


def test_a_refusal_arrives_while_the_body_is_still_sent(server: ServerProcess) -> None:
    with secured(server) as connection:
        head = f"POST /v1/chunks HTTP/1.1\r\nContent-Length: {UPLOAD_BODY_MAX + 1}\r\n\r\n"
        connection.sendall(head.encode("ascii") + bytes(100_000))
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 413")
    assert b"urn:obnam:problem:too-large" in received


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_is_modern(server: ServerProcess) -> None:
    with secured(server) as connection:
        assert connection.version() == "TLSv1.3"
        cipher = connection.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0]
    old = trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with plain(server) as connection, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(connection)


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_is_plain_and_private(tmp_path: Path, reactor: ReactorBase) -> None:
    with ServerProcess(tmp_path, unix=True) as server:
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
        assert not (server.data / "certificate.pem").exists()
        administrator = Administrator(server.config)
        invitation = administrator.json("client", "add", "laptop", "--scope", "backup")
        assert invitation["pin"] is None
        assert invitation["invitation"] == f"unix:{server.socket}#{invitation['code']}"
        from obnam.repository.connect import unix_exchange
        from obnam.repository.enrol import Invitation, enrol

        connections = Connections.none_yet(reactor)
        exchange = unix_exchange(connections, str(server.socket), None)
        await enrol(exchange, Invitation("http://embedded", invitation["code"], None), "t" * 43)
        await connections.close()
        async with client_of(reactor, server, "t" * 43) as repository:
            assert (await repository.describe()).scopes == ("backup",)
        server.kill()
        server.start()  # over the socket that the kill left behind


def test_the_self_made_key_is_private(server: ServerProcess) -> None:
    for name in ("private-key.pem", "certificate.pem", "server.sqlite"):
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700


def _run(*arguments: str, cwd: Path, expected: int) -> str:
    """A command from another directory; its output. No traceback, whatever happens."""
    ours = str(Path(cast(Any, sys.modules["obnam_server"]).__file__).parent.parent)
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ours},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    assert done.returncode == expected, output
    return output


def test_twistd_shows_the_plugin_from_anywhere(tmp_path: Path) -> None:
    assert "--config" in _run(TWISTD[0], "obnam-server", "--help", cwd=tmp_path, expected=0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("data_directory: d\nlisten_on: x\n", "unknown key 'listen_on'"),
        ("data_directory: d\nlisten: ['tcp:0:interface=203.0.113.1']\n", "cannot listen on"),
        ("data_directory: d\nlisten: ['tcp:nonsense']\n", "cannot listen on"),
        ("data_directory: d\nlisten: ['systemd:domain=INET:index=0']\n", "passed no such socket"),
        ("data_directory: d\ncertificate: c\nprivate_key: k\n", "c: cannot be read"),
        ("data_directory: server.yaml\n", "server.yaml: is not a directory"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "server.yaml").write_text(text)
    command = (*TWISTD, "obnam-server", "--config", "server.yaml")
    output = _run(*command, cwd=tmp_path, expected=1)
    assert [line for line in output.splitlines() if named in line]


def test_a_wrong_configuration_is_said_and_nothing_else(tmp_path: Path) -> None:
    """Not after a page of help."""
    (tmp_path / "server.yaml").write_text("data_dir: d\n")
    command = (*TWISTD, "obnam-server", "--config", "server.yaml")
    (line,) = _run(*command, cwd=tmp_path, expected=1).splitlines()
    assert line.startswith(f"obnam-server: {tmp_path}/server.yaml: unknown key 'data_dir'")


def test_two_servers_do_not_share_a_data_directory(server: ServerProcess) -> None:
    command = (*TWISTD, "obnam-server", "--config", str(server.config))
    output = _run(*command, cwd=server.folder, expected=1)
    assert f"in use by process {server.pid}" in output
    assert (server.data / "listening.json").exists()
