"""What the client makes of answers, good and bad, of a server that says anything."""

import json
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from obnam import errors
from obnam.repository.answers import RepositoryUnusable, broken
from obnam.repository.exchange import PROBLEM_MAX
from obnam.wire import limits, problems
from obnam.wire.messages import Receipt
from tests.support.hostile_scene import GENERATION, SESSION, A, B, Scene, until
from tests.support.hostile_server import ENDLESS_HEADS, HostileConnection, answer

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor

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
        (problems.KEPT, errors.GenerationKept, False),
        (problems.PRECONDITION_FAILED, errors.RequestRefused, False),
        (problems.LENGTH_REQUIRED, errors.RequestRefused, False),
        (problems.TOO_LARGE, errors.RequestRefused, False),
        (problems.TOO_MANY_REQUESTS, errors.ServerBusy, True),
        (problems.TOO_MANY_FAILURES, errors.ServerBusy, True),
        (problems.BUSY, errors.ServerBusy, True),
        (problems.INTERNAL, errors.ServerBusy, True),
        (problems.UNUSABLE, RepositoryUnusable, False),
        (problems.FULL, errors.ServerFull, False),
        (problems.OVER_QUOTA, errors.OverQuota, False),
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
    defined = [value for value in vars(problems).values() if isinstance(value, problems.Problem)]
    assert [row[0] for row in mark.args[1]] == defined


@ensure
async def test_members_of_problems(scene: Scene) -> None:
    scene.reply(problem(problems.CHUNKS_MISSING, count=7, first=[A.hex(), "junk", 3, B.hex()]))
    with pytest.raises(errors.ChunksMissing) as missing:
        await scene.repository.missing(SESSION, [A])
    assert (missing.value.count, missing.value.first) == (7, (A, B))
    for members, figures in (
        ({"used": 95, "quota": 100}, (95, 100)),
        ({"used": "all", "quota": -1}, (0, 0)),
        ({"used": True, "quota": 1 << 80}, (0, 0)),
    ):
        scene.reply(problem(problems.OVER_QUOTA, **members))
        with pytest.raises(errors.OverQuota) as full:
            await scene.repository.missing(SESSION, [A])
        assert (full.value.used_bytes, full.value.quota_bytes) == figures
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
        lambda: repository.list_trash(),
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


@pytest.mark.parametrize("head", ENDLESS_HEADS.values(), ids=ENDLESS_HEADS)
@ensure
async def test_a_head_that_never_ends(scene: Scene, head: bytes) -> None:
    """It would fill the memory within the minute after which silence is noticed."""
    scene.reply(head)
    with pytest.raises(errors.ServerUnreachable):
        await scene.repository.describe()
    await until(lambda: scene.server.lost)


@ensure
async def test_heads_of_many_answers(scene: Scene) -> None:
    """Each is counted by itself."""
    more = [f"X-{number}: {'y' * 1000}" for number in range(20)]
    scene.reply(answer(b"\x00", "200 OK", *more))
    for _ in range(6):
        await scene.repository.missing(SESSION, [A])
    assert len(scene.server.connections) == 1


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
async def test_pages_of_ever_more_generations(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, and made up as they are asked for: they would fill the memory."""
    monkeypatch.setattr(limits, "GENERATIONS_PAGE_MAX", 10)
    monkeypatch.setattr(limits, "GENERATIONS_MAX", 35)
    line = {
        **Receipt(GENERATION, 1, 0).to_json(),
        "client": "laptop", "previous": None, "partial": False, "chunk_count": 0,
    }  # fmt: skip

    def reply(connection: HostileConnection, body: bytes) -> None:
        first = 10 * (len(scene.server.requests) - 1)
        page = [{**line, "sequence": first + n + 1} for n in range(10)]
        connection.send(answer(json.dumps({"generations": page}).encode()))

    scene.server.reply = reply
    with pytest.raises(errors.ServerMisbehaved, match="more than 35 generations"):
        await scene.repository.list_generations()
    assert len(scene.server.requests) == 4


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


# No answers


LOST: Any = ConnectionLost()
NEVER: Any = ResponseNeverReceived


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (cast(Any, TimeoutError)(), "it takes no connection"),
        (cast(Any, ConnectionRefusedError)(111), "nothing listens there"),
        (LOST, "the connection was lost"),
        (NEVER([cast(Any, Failure)(LOST)] * 2), "the connection was lost"),
        (DNSLookupError("no such name"), "DNS lookup failed: no such name."),
    ],
)
def test_what_the_network_did_is_said_plainly(failure: Exception, said: str) -> None:
    error = broken("https://server", failure, lambda code, words: "")
    assert isinstance(error, errors.ServerUnreachable)
    assert error.problem == said
