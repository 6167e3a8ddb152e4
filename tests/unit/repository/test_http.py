"""What the client makes of answers, good and bad, of a server that says anything."""

import json
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent

from obnam import errors
from obnam.model.ids import ChunkId, SessionId, parse_generation_id
from obnam.repository.connect import Connections, UnixEndpoints
from obnam.repository.exchange import PROBLEM_MAX, Exchange
from obnam.repository.http import HttpRepository
from obnam.wire import limits, problems
from obnam.wire.frames import pack_header
from obnam.wire.messages import Receipt
from tests.support.hostile_server import HostileConnection, HostileServer, answer

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor

SESSION = SessionId("0" * 32)
GENERATION = parse_generation_id("a" * 32)
A, B = (ChunkId(b"\x01" + sha256(name).digest()) for name in (b"a", b"b"))


@define
class Scene:
    """A client and the hostile server it speaks to. ``clock`` only moves when told to."""

    server: HostileServer
    repository: HttpRepository
    clock: Clock
    socket: str

    def reply(self, data: bytes) -> None:
        self.server.reply = lambda connection, _: connection.send(data)


@pytest_twisted.async_yield_fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    server = HostileServer(lambda connection, body: None)
    path = str(tmp_path / "s")
    port = reactor.listenUNIX(path, server)
    connections = Connections.none_yet(reactor)
    agent = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]
        reactor, UnixEndpoints(connections, path), pool=connections.pool
    )
    clock = Clock()
    exchange = Exchange(HTTPClient(agent), clock, "http://server", token="secret")
    repository = HttpRepository(exchange, connections.close)
    yield Scene(server, repository, clock, path)
    await repository.close()
    await port.stopListening()
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abortConnection()  # type: ignore[attr-defined]


def frame(chunk_id: ChunkId, sealed: bytes) -> bytes:
    return pack_header(chunk_id, len(sealed)) + sealed


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor turn until something holds."""
    for _ in range(10_000):
        if condition():
            return
        await deferLater(reactor, 0, lambda: None)
    raise AssertionError("it never came true")


# What is sent


@ensure
async def test_requests(scene: Scene) -> None:
    scene.reply(answer(b"\x80", "200 OK"))
    assert await scene.repository.missing(SESSION, [A, B]) == [True, False]
    request = scene.server.requests[0]
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chunks/missing HTTP/1.1\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    assert b"authorization: bearer secret" in lines
    assert b"obnam-session: " + SESSION.encode() in lines
    assert b"content-type: application/octet-stream" in lines
    assert body == A + B


@ensure
async def test_connections_are_used_again(scene: Scene) -> None:
    scene.reply(answer(b"\x00"))
    for _ in range(3):
        await scene.repository.missing(SESSION, [A])
    assert len(scene.server.connections) == 1


@ensure
async def test_a_body_is_sent_whole(scene: Scene) -> None:
    bodies: list[bytes] = []

    def keep(connection: HostileConnection, body: bytes) -> None:
        bodies.append(body)
        connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    scene.server.reply = keep
    body = bytes(range(256)) * 4096
    await scene.repository.store(SESSION, memoryview(body))
    assert bodies == [body]


# Fetching


@ensure
async def test_fetch_writes_where_told(scene: Scene) -> None:
    scene.reply(answer(frame(A, b"one") + frame(B, b"")))
    into = bytearray(b"." * 100)
    frames = await scene.repository.fetch([A, B], memoryview(into))
    assert [(f.chunk_id, f.offset, f.length) for f in frames] == [(A, 37, 3), (B, 77, 0)]
    assert into[37:40] == b"one"
    assert into[77:] == b"." * 23


@pytest.mark.parametrize(
    "body",
    [
        frame(B, b"one"),
        frame(A, b"one") + frame(A, b"one"),
        frame(A, b"one"),
        frame(A, b"one") + frame(B, b"two") + frame(B, b"two"),
        frame(A, b"one") + frame(B, b"two") + b"!",
        (frame(A, b"one") + frame(B, b"two"))[:-1],
        (frame(A, b"one") + frame(B, b""))[:-20],
        b"",
        pack_header(A, limits.SEALED_CHUNK_MAX + 1),
        frame(A, b"x" * 100) + frame(B, b"x" * 100),
        b"\x02" + frame(A, b"one")[1:] + frame(B, b"two"),
    ],
    ids=[
        "swapped", "twice", "one-less", "one-more", "junk-behind", "truncated",
        "within-header", "nothing", "length-too-large", "more-than-room", "algorithm",
    ],
)  # fmt: skip
@ensure
async def test_wrong_frames(scene: Scene, body: bytes) -> None:
    scene.reply(answer(body))
    with pytest.raises(errors.ServerMisbehaved):
        await scene.repository.fetch([A, B], memoryview(bytearray(100)))


@ensure
async def test_an_endless_body_is_not_read(scene: Scene) -> None:
    def endless(connection: HostileConnection, _: bytes) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _number in range(64):
            connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    scene.server.reply = endless
    with pytest.raises(errors.ServerMisbehaved):
        await scene.repository.missing(SESSION, [A])
    await until(lambda: scene.server.lost)


@ensure
async def test_memory_is_left_alone_after_a_failure(scene: Scene) -> None:
    def wrong_then_more(connection: HostileConnection, _: bytes) -> None:
        connection.send(answer(frame(A, b"one") + frame(A, b"x" * 60), length=1000))
        connection.send(b"late" * 100)

    scene.server.reply = wrong_then_more
    into = bytearray(200)
    with pytest.raises(errors.ServerMisbehaved):
        await scene.repository.fetch([A, B], memoryview(into))
    into[:] = b"." * 200
    await until(lambda: scene.server.lost)
    assert into == b"." * 200


@ensure
async def test_a_connection_cut_short(scene: Scene) -> None:
    def cut(connection: HostileConnection, _: bytes) -> None:
        connection.send(answer(frame(A, b"one"), length=1000))
        connection.close()

    scene.server.reply = cut
    with pytest.raises(errors.ServerUnreachable) as caught:
        await scene.repository.fetch([A, B], memoryview(bytearray(2000)))
    assert caught.value.temporary


@ensure
async def test_a_connection_cut_before_the_answer(scene: Scene) -> None:
    scene.server.reply = lambda connection, _: connection.close()
    with pytest.raises(errors.ServerUnreachable):
        await scene.repository.store(SESSION, memoryview(b"x" * 1000))


@ensure
async def test_nobody_there(scene: Scene) -> None:
    path = Path(scene.socket)
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(errors.ServerUnreachable) as caught:
        await scene.repository.describe()
    path.with_name("elsewhere").rename(path)
    assert caught.value.temporary
    assert "\n" not in str(caught.value)


# Silence


@ensure
async def test_silence_before_the_answer(scene: Scene) -> None:
    asked = scene.repository.describe()
    await until(lambda: scene.server.requests)
    scene.clock.advance(limits.SILENCE_S - 1)
    assert not asked.called
    scene.clock.advance(1)
    with pytest.raises(errors.ServerUnreachable, match="no answer for 60 seconds"):
        await asked
    await until(lambda: scene.server.lost)


@ensure
async def test_silence_within_the_answer(scene: Scene) -> None:
    scene.reply(answer(frame(A, b"o"), length=1000))
    into = bytearray(2000)
    asked = scene.repository.fetch([A], memoryview(into))
    await until(lambda: into[37:38] == b"o")
    scene.clock.advance(limits.SILENCE_S - 1)
    scene.server.connections[0].send(b"x")
    await until(lambda: into[38:39] == b"x")
    scene.clock.advance(limits.SILENCE_S - 1)
    assert not asked.called
    scene.clock.advance(1)
    with pytest.raises(errors.ServerUnreachable, match="no answer"):
        await asked
    await until(lambda: scene.server.lost)


@ensure
async def test_silence_while_sending(scene: Scene) -> None:
    """A server that takes nothing more. Afterwards the body is nobody's but the caller's."""

    def stop_reading(connection: HostileConnection, _: bytes) -> None:
        connection.transport.pauseProducing()  # type: ignore[union-attr]

    scene.server.reply_to_head = True
    scene.server.reply = stop_reading
    body = memoryview(bytearray(limits.UPLOAD_BODY_MAX))
    stored = scene.repository.store(SESSION, body)
    await until(lambda: scene.server.requests)
    for _ in range(200):
        await deferLater(reactor, 0, lambda: None)
    scene.clock.advance(limits.SILENCE_S)
    with pytest.raises(errors.ServerUnreachable, match="no answer"):
        await stored
    body.release()


@ensure
async def test_no_clock_is_left_running(scene: Scene) -> None:
    scene.reply(answer(b"\x00"))
    await scene.repository.missing(SESSION, [A])
    assert scene.clock.getDelayedCalls() == []


@ensure
async def test_cancelling(scene: Scene) -> None:
    asked = scene.repository.fetch([A], memoryview(bytearray(100)))
    await until(lambda: scene.server.requests)
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked
    assert scene.clock.getDelayedCalls() == []
    await until(lambda: scene.server.lost)


@ensure
async def test_cancelling_an_upload_lets_go_of_the_memory(scene: Scene) -> None:
    scene.server.reply_to_head = True
    scene.server.reply = lambda connection, _: connection.transport.pauseProducing()  # type: ignore[union-attr]
    body = memoryview(bytearray(limits.UPLOAD_BODY_MAX))
    stored = scene.repository.store(SESSION, body)
    await until(lambda: scene.server.requests)
    stored.cancel()
    with pytest.raises(CancelledError):
        await stored
    body.release()


# Error answers


def problem(kind: problems.Problem, **members: object) -> bytes:
    body = json.dumps(kind.to_json("the detail", **members)).encode()
    return answer(body, f"{kind.status} X", f"Content-Type: {problems.CONTENT_TYPE}")


@pytest.mark.parametrize(
    ("kind", "expected", "temporary"),
    [
        (problems.BAD_REQUEST, errors.RequestRefused, False),
        (problems.UNAUTHENTICATED, errors.AccessDenied, False),
        (problems.FORBIDDEN, errors.AccessDenied, False),
        (problems.NOT_FOUND, errors.NotFound, False),
        (problems.METHOD_NOT_ALLOWED, errors.RequestRefused, False),
        (problems.SESSION_LOST, errors.SessionLost, False),
        (problems.CONFLICT, errors.CommitConflict, False),
        (problems.CHUNKS_MISSING, errors.ChunksMissing, False),
        (problems.SET_DIFFERS, errors.RequestRefused, False),
        (problems.PRECONDITION_FAILED, errors.RequestRefused, False),
        (problems.LENGTH_REQUIRED, errors.RequestRefused, False),
        (problems.TOO_LARGE, errors.RequestRefused, False),
        (problems.BUSY, errors.ServerBusy, True),
        (problems.INTERNAL, errors.ServerBusy, True),
        (problems.FULL, errors.ServerFull, False),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@ensure
async def test_problems(
    scene: Scene, kind: problems.Problem, expected: type[errors.ObnamError], temporary: bool
) -> None:
    scene.reply(problem(kind))
    with pytest.raises(expected) as caught:
        await scene.repository.missing(SESSION, [A])
    assert type(caught.value) is expected
    assert caught.value.temporary is temporary
    assert "\n" not in str(caught.value)


def test_every_problem_is_tested() -> None:
    (mark,) = [m for m in test_problems.pytestmark if m.name == "parametrize"]
    assert tuple(row[0] for row in mark.args[1]) == problems.ALL


@ensure
async def test_members_of_problems(scene: Scene) -> None:
    scene.reply(problem(problems.CHUNKS_MISSING, count=7, first=[A.hex(), "junk", 3, B.hex()]))
    with pytest.raises(errors.ChunksMissing) as missing:
        await scene.repository.missing(SESSION, [A])
    assert (missing.value.count, missing.value.first) == (7, (A, B))
    scene.reply(problem(problems.CONFLICT, latest=GENERATION))
    with pytest.raises(errors.CommitConflict) as conflict:
        await scene.repository.missing(SESSION, [A])
    assert conflict.value.latest == GENERATION


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("401 Unauthorized", errors.AccessDenied),
        ("404 Not Found", errors.NotFound),
        ("413 Too Large", errors.RequestRefused),
        ("429 Slow Down", errors.ServerBusy),
        ("502 Bad Gateway", errors.ServerBusy),
        ("503 Unavailable", errors.ServerBusy),
        ("504 Timeout", errors.ServerBusy),
        ("507 Full", errors.ServerFull),
        ("301 Moved", errors.ServerMisbehaved),
        ("307 Moved", errors.ServerMisbehaved),
        ("304 Not Modified", errors.ServerMisbehaved),
        ("599 What", errors.ServerMisbehaved),
    ],
)
@ensure
async def test_a_proxy_on_the_way(
    scene: Scene, status: str, expected: type[errors.ObnamError]
) -> None:
    location = "Location: http://elsewhere.invalid/"
    scene.reply(answer(b"<html>\x1b[31m</html>", status, location))
    with pytest.raises(expected) as caught:
        await scene.repository.describe()
    assert "\x1b" not in str(caught.value)
    assert len(scene.server.requests) == 1


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("999999", 3600.0), ("-1", None), ("soon", None), ("Mon, 1 Jan 2029", None)],
)
@ensure
async def test_retry_after(scene: Scene, header: str, expected: float | None) -> None:
    scene.reply(answer(b"", "503 Busy", f"Retry-After: {header}"))
    with pytest.raises(errors.ServerBusy) as caught:
        await scene.repository.describe()
    assert caught.value.retry_after_s == expected


@ensure
async def test_a_text_that_plays_with_the_terminal(scene: Scene) -> None:
    body = problems.FORBIDDEN.to_json("\x1b[2J\nall fine" + "x" * 5000)
    scene.reply(answer(json.dumps(body).encode(), "403 No"))
    with pytest.raises(errors.AccessDenied) as caught:
        await scene.repository.describe()
    assert caught.value.problem == "?[2J?all fine" + "x" * (limits.TEXT_MAX - 13)


@ensure
async def test_an_endless_error_answer(scene: Scene) -> None:
    scene.reply(answer(b"x" * (PROBLEM_MAX + 1), "400 Bad", length=1 << 40))
    with pytest.raises(errors.ServerMisbehaved):
        await scene.repository.describe()
    await until(lambda: scene.server.lost)


@ensure
async def test_refused_before_the_body_was_sent(scene: Scene) -> None:
    """The answer comes while the body is still on its way, and the server stops reading."""

    def refuse(connection: HostileConnection, _: bytes) -> None:
        connection.transport.pauseProducing()  # type: ignore[union-attr]
        connection.send(problem(problems.FULL))

    scene.server.reply_to_head = True
    scene.server.reply = refuse
    body = memoryview(bytearray(limits.UPLOAD_BODY_MAX))
    with pytest.raises(errors.ServerFull):
        await scene.repository.store(SESSION, body)
    body.release()


# Answers that make no sense


JUNK = [b"", b"junk", b"[]", b"{}", b"null", b'{"session": 7}', b'{"session": "x"}', b"[" * 100_000]


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
@ensure
async def test_junk_json(scene: Scene, body: bytes) -> None:
    repository = scene.repository
    scene.reply(answer(body))
    for ask in (
        lambda: repository.describe(),
        lambda: repository.begin_session(None),
        lambda: repository.list_generations(),
        lambda: repository.get_generation(GENERATION),
    ):
        with pytest.raises(errors.ServerMisbehaved):
            await ask()


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",
    ],
)
@ensure
async def test_no_http(scene: Scene, raw: bytes) -> None:
    def reply(connection: HostileConnection, _: bytes) -> None:
        connection.send(raw)
        connection.close()

    scene.server.reply = reply
    with pytest.raises((errors.ServerMisbehaved, errors.ServerUnreachable)):
        await scene.repository.describe()


@pytest.mark.parametrize("body", [b"", b"\x00\x00", b"\x01"], ids=["none", "more", "padding"])
@ensure
async def test_wrong_bits(scene: Scene, body: bytes) -> None:
    scene.reply(answer(body))
    with pytest.raises(errors.ServerMisbehaved):
        await scene.repository.missing(SESSION, [A])


@ensure
async def test_pages_that_never_end(scene: Scene) -> None:
    """Page after page of the same generations would otherwise be asked for without end."""
    line = {
        **Receipt(GENERATION, 1, 0).to_json(),
        "client": "laptop", "previous": None, "partial": False, "chunk_count": 0,
    }  # fmt: skip
    page = {
        "generations": [{**line, "sequence": n + 1} for n in range(limits.GENERATIONS_PAGE_MAX)]
    }
    scene.reply(answer(json.dumps(page).encode()))
    with pytest.raises(errors.ServerMisbehaved, match="out of order"):
        await scene.repository.list_generations()
    assert len(scene.server.requests) == 2
    assert b"GET /v1/generations?after=1000 " in scene.server.requests[1]


@ensure
async def test_a_keyring_without_etag(scene: Scene) -> None:
    scene.reply(answer(b'{"slots": []}'))
    with pytest.raises(errors.ServerMisbehaved):
        await scene.repository.get_keyring()
    scene.reply(answer(b'{"slots": []}', "200 OK", 'ETag: "7"'))
    assert (await scene.repository.get_keyring()).etag == '"7"'


@ensure
async def test_closing_does_not_wait_for_the_server(scene: Scene) -> None:
    scene.reply(answer(b"\x00"))
    await scene.repository.missing(SESSION, [A])
    closed: Deferred[None] = scene.repository.close()
    await closed
    await until(lambda: scene.server.lost)
