"""A server with workers: its answers are those of a server without, and its workers may die."""

import json
import os
import re
import select
import signal
import ssl
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import frozen
from twisted.internet.base import ReactorBase

from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids
from obnam.wire.limits import MIB, REQUEST_HEADER_MAX, UPLOAD_BODY_MAX
from obnam_server.admin.calling import about_running
from obnam_server.config import load
from obnam_server.tls import _self_signed
from tests.support.clients import client_of, enrolled
from tests.support.raw_backup import chunk_id
from tests.support.raw_connection import secured
from tests.support.server_process import ServerProcess

TOKEN = "token-that-is-long-enough-to-be-one-of-ours"
SESSION = "5" * 32
END_S = 30.0
SEALED = b"sealed " * 1000


def frames(*numbers: int) -> bytes:
    return b"".join(pack_header(chunk_id(n), len(SEALED)) + SEALED for n in numbers)


def head(method: str, path: str, length: int | None = None, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def workers_of(server: ServerProcess) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def wait_for_end(pid_descriptors: list[int]) -> None:
    for descriptor in pid_descriptors:
        assert select.select([descriptor], [], [], END_S)[0], "a worker outlives its owner"
        os.close(descriptor)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """One alone, one with workers, each with a client of the same token and a session."""
    servers = []
    try:
        for count in (0, 2):
            more = f"workers: {count}\n"
            server = ServerProcess(tmp_path_factory.mktemp("server"), more=more)
            servers.append(server)
            server.start()
            enrol_raw(server)
        yield servers
    finally:
        for server in servers:
            server.stop()


@frozen
class Answer:
    """All that a client sees of it, but for what differs by chance."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool


def exchange(server: ServerProcess, request: bytes) -> Answer:
    """Send, and read the answer, and whether the connection can be used on."""
    with secured(server) as connection:
        # Refused before all of it was sent: the answer is there.
        with suppress(ConnectionError, ssl.SSLError):
            connection.sendall(request)
        return read_answer(connection, request.startswith(b"HEAD"))


def read_answer(connection: ssl.SSLSocket, is_head: bool = False) -> Answer:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    start, _, body = received.partition(b"\r\n\r\n")
    first, *lines = start.decode("ascii").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    headers.pop("date", None)
    length = 0 if is_head else int(headers.get("content-length", "0"))
    assert "transfer-encoding" not in headers
    while len(body) < length:
        body += connection.recv(65536)
    closed = headers.get("connection") == "close"
    body = re.sub(rb'"(session|server_key)":"[^"]*"', rb"", body)
    return Answer(int(first.split()[1]), headers, body, closed)


IN_SESSION = f"Obnam-Session: {SESSION}"
ABSENT = chunk_id(404).hex()

REQUESTS = {
    "health": head("GET", "/health"),
    "no such page": head("GET", "/nothing"),
    "no such page of the desk": head("POST", "/worker/uploads", 0),
    "not this method": head("DELETE", "/health"),
    "a method that is none": head("G@T", "/health"),
    "head": head("HEAD", "/v1/generations"),
    "no token": b"GET /v1/repository HTTP/1.1\r\nHost: x\r\n\r\n",
    "two tokens": head("GET", "/v1/repository", None, "Authorization: Bearer x"),
    "list": head("GET", "/v1/generations?after=0"),
    "a wrong number": head("GET", "/v1/generations?after=x"),
    "keyring": head("GET", "/v1/keyring"),
    "keyring without If-Match": head("PUT", "/v1/keyring", 2) + b"{}",
    "session": head("POST", "/v1/sessions", 14) + b'{"base": null}',
    "no JSON": head("POST", "/v1/sessions", 3) + b"abc",
    "a body that is too long": head("POST", "/v1/sessions", 10**9) + bytes(100_000),
    "a body of no length": head("POST", "/v1/sessions", None, "Transfer-Encoding: chunked"),
    "a large body and a wrong token": b"PUT /v1/keyring HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: Bearer wrong\r\nContent-Length: 4000000\r\n\r\n" + bytes(4_000_000),
    "a large body and no such session": head("POST", f"/v1/sessions/{SESSION}/references", MIB)
    + bytes(MIB),
    "missing in no session": head("POST", "/v1/chunks/missing", 33, IN_SESSION) + chunk_id(1),
    "half an id": head("POST", "/v1/chunks/missing", 3, IN_SESSION) + b"abc",
    "nothing is missing": head("POST", "/v1/chunks/missing", 0, IN_SESSION),
    "fetch": head("POST", "/v1/chunks/fetch", 66) + pack_ids([chunk_id(404), chunk_id(405)]),
    "fetch nothing": head("POST", "/v1/chunks/fetch", 0),
    "fetch half an id": head("POST", "/v1/chunks/fetch", 3) + b"abc",
    "an absent chunk": head("GET", f"/v1/chunks/{ABSENT}"),
    "upload in no session": head("POST", "/v1/chunks", len(frames(1)), IN_SESSION) + frames(1),
    "upload without a session": head("POST", "/v1/chunks", len(frames(1))) + frames(1),
    "no frames": head("POST", "/v1/chunks", 100, IN_SESSION) + bytes(100),
    "half a frame": head("POST", "/v1/chunks", 50, IN_SESSION) + frames(1)[:50],
    "an empty upload": head("POST", "/v1/chunks", 0, IN_SESSION),
    "an upload that is too long": head("POST", "/v1/chunks", UPLOAD_BODY_MAX + 1, IN_SESSION),
    "an upload of no length": head("POST", "/v1/chunks", None, "Transfer-Encoding: chunked"),
    "not HTTP": b"hello\r\n\r\n",
    "headers that are too long": head("GET", "/health", None, "X: " + "x" * REQUEST_HEADER_MAX),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_answer(both: list[ServerProcess], name: str) -> None:
    alone, with_workers = (exchange(server, REQUESTS[name]) for server in both)
    assert with_workers == alone


def test_requests_one_behind_the_other(both: list[ServerProcess]) -> None:
    """Sent at once, answered in order, whoever carries what."""
    with secured(both[1]) as connection:
        fetch = REQUESTS["fetch"]
        connection.sendall(REQUESTS["health"] + fetch + REQUESTS["session"] + fetch)
        received = b""
        while received.count(b"HTTP/1.1 ") < 4 or not received.endswith(bytes(4)):
            received += connection.recv(65536)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", received)
    assert statuses == [b"200", b"200", b"201", b"200"]


def begun_upload(server: ServerProcess, session: str, body: bytes) -> ssl.SSLSocket:
    """A connection on which half of ``body`` is sent, once the server wanted it."""
    connection = secured(server)
    expect = ("Expect: 100-continue", f"Obnam-Session: {session}")
    connection.sendall(head("POST", "/v1/chunks", len(body), *expect))
    assert connection.recv(100).startswith(b"HTTP/1.1 100")
    connection.sendall(body[: len(body) // 2])
    return connection


@pytest_twisted.ensureDeferred
async def test_a_worker_dies(tmp_path: Path, reactor: ReactorBase) -> None:
    """Its clients lose their connections and nothing else, and another one comes."""
    with ServerProcess(tmp_path, more="workers: 1\n") as server:
        _, _, token = await enrolled(reactor, server.invite("laptop"))
        async with client_of(reactor, server, token) as repository:
            session = await repository.begin_session(None)
            await repository.store(session, memoryview(frames(1, 2)))
        incoming = server.data / "repositories" / "laptop" / "incoming"
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        assert "begun again in 1 s" in server.wait_for("Worker 1 has ended")
        async with client_of(reactor, server, token) as repository:  # waits for the next
            into = memoryview(bytearray(MIB))
            found = await repository.fetch([chunk_id(1), chunk_id(3)], into)
            assert [frame.length for frame in found] == [len(SEALED), 0]
            await repository.store(session, memoryview(frames(3)))
        assert not list(incoming.iterdir())
        assert workers_of(server) != [worker]


def test_how_many_there_are_is_shown(both: list[ServerProcess]) -> None:
    for server, count in zip(both, (0, 2), strict=True):
        running = about_running(load(server.config))
        assert running is not None
        assert running["workers"] == workers_of(server)
        assert len(running["workers"]) == count


def test_a_worker_dies_with_half_an_upload(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, more="workers: 1\n") as server:
        session = enrol_raw(server)
        incoming = server.data / "repositories" / "home" / "incoming"
        with begun_upload(server, session, frames(*range(200))) as connection:
            assert len(list(incoming.iterdir())) == 1
            os.kill(workers_of(server)[0], signal.SIGKILL)
            server.wait_for("Worker 1 has ended")
            with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
                read_answer(connection)
        # An answer from the next worker: what the owner had to let go of, it has by then.
        assert exchange(server, head("GET", "/health")).status == 200
        server.stop()
        assert not list(incoming.iterdir())


def test_the_owner_dies(tmp_path: Path) -> None:
    """Its workers do not outlive it: nobody would answer their clients."""
    with ServerProcess(tmp_path, more="workers: 2\n") as server:
        assert exchange(server, head("GET", "/health")).status == 200
        descriptors = [os.pidfd_open(pid) for pid in workers_of(server)]
        assert len(descriptors) == 2
        server.kill()
        wait_for_end(descriptors)
        server.start()


def test_the_end_of_the_server_waits_for_what_workers_carry(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, more="workers: 2\n") as server:
        session = enrol_raw(server)
        body = frames(*range(200))
        with begun_upload(server, session, body) as connection:
            os.kill(server.pid, signal.SIGTERM)
            connection.sendall(body[len(body) // 2 :])
            assert read_answer(connection).status == 204
        server.stop()


def enrol_raw(server: ServerProcess) -> str:
    """Enrol the client with our token; its session."""
    code = server.invite("laptop", "home").partition("#")[2].partition(".")[0]
    enrolment = {"code": code, "token_sha256": sha256(TOKEN.encode("ascii")).hexdigest()}
    body = json.dumps(enrolment).encode("ascii")
    assert exchange(server, head("POST", "/v1/enrolment", len(body)) + body).status == 201
    with secured(server) as connection:
        connection.sendall(REQUESTS["session"])
        found = re.search(rb'"session":"([0-9a-f]{32})"', connection.recv(65536))
    assert found is not None
    return found[1].decode("ascii")


def test_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    """The workers have it, too, once they say so."""

    def renew() -> bytes:
        secret, public = _self_signed()
        (tmp_path / "key.pem").write_bytes(secret)
        (tmp_path / "certificate.pem").write_bytes(public)
        return ssl.PEM_cert_to_DER_cert(public.decode("ascii"))

    renew()
    more = (
        f"workers: 1\ncertificate: {tmp_path / 'certificate.pem'}\n"
        f"private_key: {tmp_path / 'key.pem'}\n"
    )
    with ServerProcess(tmp_path / "server", more=more) as server:
        with secured(server) as connection:
            before = connection.getpeercert(binary_form=True)
        renewed = renew()
        os.kill(server.pid, signal.SIGHUP)
        server.wait_for("The certificate is read anew")
        with secured(server) as connection:
            assert connection.getpeercert(binary_form=True) == renewed != before
