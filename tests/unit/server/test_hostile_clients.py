"""Requests that no client of ours makes: refused early, and nothing is left of them."""

import json
from pathlib import Path

import pytest

from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids
from obnam.wire.limits import (
    MIB,
    REQUEST_HEADER_MAX,
    SEALED_CHUNK_MAX,
    SILENCE_S,
    SLOWEST_BYTES_PER_S,
    SLOWEST_LINK_BYTES_PER_S,
    UPLOAD_BODY_MAX,
)
from obnam_server.channel import CLOSING_S
from tests.support.raw_backup import begin, chunk_id, frames, problem
from tests.support.server_in_memory import ServerInMemory, Wire


def files_of(server: ServerInMemory, folder: Path) -> set[str]:
    """All files that hold chunks, or may."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if "sqlite" not in name}


def test_without_a_token(server: ServerInMemory) -> None:
    for value in ("", "Basic bWU6bWU=", "Bearer", "Bearer " + "x" * 1000, "Bearer \xe9"):
        wire = server.connect()
        wire.send(wire.head("GET", "/v1/repository", Authorization=value))
        answer = wire.answer()
        assert problem(answer) == "unauthenticated"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_two_tokens(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    head = wire.head("GET", "/v1/repository", token=token)
    wire.send(head.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n"))
    assert wire.answer().status == 403


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/v1/chunks", UPLOAD_BODY_MAX), ("/v1/sessions", 4096), ("/health", 0)],
)
def test_a_body_that_says_it_is_too_large_is_not_read(
    server: ServerInMemory, path: str, limit: int
) -> None:
    wire = server.connect()
    method = "POST" if path != "/health" else "GET"
    head = wire.head(method, path, token=server.token("laptop"), Content_Length=str(limit + 1))
    wire.send(head)
    answer = wire.answer()
    assert (answer.status, problem(answer)) == (413, "too-large")
    assert answer.headers["connection"] == "close"
    assert wire.closed
    wire.send(bytes(MIB))
    assert not wire.channel._dataBuffer


def test_a_refused_body_is_left_unread_also_when_it_came_along(server: ServerInMemory) -> None:
    wire = server.connect()
    body = b'{"base": null}' * 10000
    wire.send(wire.head("POST", "/v1/sessions", body, token=server.token("laptop")))
    assert wire.answer().status == 413
    assert wire.closed
    assert wire.nothing()  # one answer, and the rest was not taken for requests


def test_a_body_of_unknown_length(server: ServerInMemory) -> None:
    wire = server.connect()
    head = wire.head(
        "POST", "/v1/chunks", token=server.token("laptop"), Transfer_Encoding="chunked"
    )
    wire.send(head + b"5\r\nhello\r\n0\r\n\r\n")
    assert problem(wire.answer()) == "length-required"
    assert wire.closed


def test_more_than_the_announced_length_is_another_request(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    body = frames(1)
    wire.send(wire.head("POST", "/v1/chunks", body, token=token, session=session) + b"junk\r\n\r\n")
    assert wire.answer().status == 204
    answer = wire.answer()
    assert (answer.status, problem(answer)) == (400, "bad-request")
    assert wire.closed


@pytest.mark.parametrize(
    "head",
    [
        b"junk\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\ncontent-length:" + b"0" * 4301 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: \0\r\nY: y\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: " + b"x" * REQUEST_HEADER_MAX + b"\r\n\r\n",
    ],
)
def test_what_is_no_http(server: ServerInMemory, head: bytes) -> None:
    wire = server.connect()
    wire.send(head)
    assert wire.closed
    if not wire.nothing():  # a line that never ends is cut without an answer
        assert problem(wire.answer()) == "bad-request"
        assert wire.nothing()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/repository/", 404),
        ("GET", "//v1/repository", 404),
        ("GET", "/v1/chunks/" + "01" * 32, 404),
        ("GET", "/v1/chunks/" + "02" * 33, 404),
        ("GET", "/v1/generations/" + "A" * 32, 404),
        ("GET", "/v1/generations/..%2f..%2fetc", 404),
        ("GET", "/v1/%72epository", 404),
        ("GET", "http://server/health", 404),
        ("GET", "*", 404),
        ("GET", "/%ff", 404),
        ("PATCH", "/v1/repository", 405),
        ("DELETE", "/v1/keyring", 405),
        ("TRACE", "/health", 405),
    ],
)
def test_where_there_is_nothing(
    server: ServerInMemory, method: str, path: str, status: int
) -> None:
    wire = server.connect()
    answer = wire.request(method, path, token=server.token("laptop"))
    assert answer.status == status
    assert problem(answer) == {404: "not-found", 405: "method-not-allowed"}[status]


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"x" * 40,
        frames(1)[:-1],
        frames(1, 2)[:-200],
        b"\x02" + frames(1)[1:],
        pack_header(chunk_id(1), SEALED_CHUNK_MAX + 1) + bytes(100),
    ],
)
def test_malformed_frames_store_nothing(
    server: ServerInMemory, tmp_path: Path, body: bytes
) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    before = files_of(server, tmp_path)
    answer = wire.request("POST", "/v1/chunks", body, token=token, session=session)
    assert (answer.status, problem(answer)) == (400, "bad-request")
    assert files_of(server, tmp_path) == before


def test_malformed_frames_are_refused_before_the_body_ends(
    server: ServerInMemory, tmp_path: Path
) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    before = files_of(server, tmp_path)
    head = wire.head(
        "POST", "/v1/chunks", token=token, session=session, Content_Length=str(8 * MIB)
    )
    wire.send(head)
    wire.send(b"\xff" * MIB)
    answer = wire.answer()
    assert problem(answer) == "bad-request"
    assert wire.closed
    wire.send(bytes(MIB))
    assert wire.nothing()
    assert files_of(server, tmp_path) == before


def open_upload(server: ServerInMemory, sent: int = MIB + 5, length: int = 8 * MIB) -> Wire:
    """A connection on which ``sent`` bytes of an upload have come in."""
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    wire.send(
        wire.head("POST", "/v1/chunks", token=token, session=session, Content_Length=str(length))
    )
    chunk = pack_header(chunk_id(1), SEALED_CHUNK_MAX) + bytes(SEALED_CHUNK_MAX)
    wire.send(chunk[:sent])
    return wire


def test_half_a_body_and_gone(server: ServerInMemory, tmp_path: Path) -> None:
    wire = open_upload(server)
    files = files_of(server, tmp_path)
    wire.lose()
    assert len(files_of(server, tmp_path)) == len(files) - 1
    assert not server.site.services.queues.uploads


def test_a_client_that_goes_before_the_answer_stores_all_the_same(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    head = wire.head("POST", "/v1/chunks", frames(1), token=token, session=session)
    wire.channel.dataReceived(head)  # no thread has done anything yet
    server.work._queue.popleft()()  # but let the client in,
    server.work._queue.popleft()()  # and found that there is room
    wire.lose()
    path = f"/v1/chunks/{chunk_id(1).hex()}"
    assert server.connect().request("GET", path, token=token).status == 200


def test_an_upload_without_a_session_leaves_nothing(server: ServerInMemory, tmp_path: Path) -> None:
    token, wire = server.token("laptop"), server.connect()
    begin(wire, token)
    before = files_of(server, tmp_path)
    answer = wire.request("POST", "/v1/chunks", frames(1), token=token)
    assert problem(answer) == "bad-request"
    answer = wire.request("POST", "/v1/chunks", frames(1), token=token, session="0" * 32)
    assert problem(answer) == "session-lost"
    assert files_of(server, tmp_path) == before
    assert not server.site.services.queues.uploads


def test_silence_within_a_body(server: ServerInMemory, tmp_path: Path) -> None:
    wire = open_upload(server)
    # What came of an upload is only counted, so that the first interval is forgiven.
    server.advance(SILENCE_S)
    server.advance(SILENCE_S)
    assert wire.closed


def test_a_body_that_trickles(server: ServerInMemory) -> None:
    length = 64 * 1024
    wire = open_upload(server, sent=100, length=length)
    seconds = 0.0
    while not wire.closed:
        server.advance(SILENCE_S / 2)
        seconds += SILENCE_S / 2
        wire.send(b"\0")
    assert seconds <= SILENCE_S + length / SLOWEST_BYTES_PER_S + SILENCE_S / 2


def test_a_head_that_trickles(server: ServerInMemory) -> None:
    wire = server.connect()
    seconds = 0.0
    for byte in wire.head("GET", "/health", X="x" * 200)[:-1]:
        wire.send(bytes((byte,)))
        server.advance(1)
        seconds += 1
        if wire.closed:
            break
    assert wire.closed
    assert seconds <= SILENCE_S


def test_an_idle_connection_is_closed(server: ServerInMemory) -> None:
    wire = server.connect()
    assert wire.request("GET", "/health").status == 200
    server.advance(SILENCE_S - 1)
    assert not wire.closed
    server.advance(1)
    assert wire.closed
    server.advance(CLOSING_S)
    assert wire.transport.disconnected


def test_a_large_answer_has_time_to_arrive(server: ServerInMemory) -> None:
    """What the kernel has taken, the client has not yet; cut, it would have to begin again."""
    token, wire = server.token("laptop"), server.connect()
    size = 10 * SLOWEST_LINK_BYTES_PER_S
    chunk = pack_header(chunk_id(1), size) + bytes(size)
    session = begin(wire, token)
    assert wire.request("POST", "/v1/chunks", chunk, token=token, session=session).status == 204
    ids = pack_ids([chunk_id(1)])
    assert wire.request("POST", "/v1/chunks/fetch", ids, token=token).body == chunk
    server.advance(SILENCE_S + 9)
    assert not wire.closed
    server.advance(1)
    assert wire.closed

    wire = server.connect()
    wire.request("POST", "/v1/chunks/fetch", ids, token=token)
    wire.request("GET", "/health")
    server.advance(SILENCE_S)
    assert wire.closed


def test_a_client_that_waits_for_a_slow_disk_is_not_silent(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    chunk = pack_header(chunk_id(1), SEALED_CHUNK_MAX) + bytes(SEALED_CHUNK_MAX)
    wire.send(
        wire.head(
            "POST", "/v1/chunks", token=token, session=session, Content_Length=str(len(chunk))
        )
    )
    half = len(chunk) - MIB // 2
    wire.channel.dataReceived(chunk[: MIB + 1])
    wire.channel.dataReceived(chunk[MIB + 1 : half])
    assert wire.transport.producerState == "paused"
    for _ in range(5):
        server.clock.advance(SILENCE_S)
    assert not wire.closed
    server.work.do_all()
    assert wire.transport.producerState == "producing"
    wire.send(chunk[half:])
    assert wire.answer().status == 204


def test_pipelined_requests_are_answered_in_order(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    two = [wire.head("POST", "/v1/chunks", frames(n), token=token, session=session) for n in (1, 2)]
    wire.send(b"".join(two) + wire.head("GET", "/health"))
    assert [wire.answer().status for _ in range(3)] == [204, 204, 200]


def test_expect_100_continue_only_after_the_token_was_checked(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    head = wire.head(
        "POST",
        "/v1/chunks",
        token=token,
        session=session,
        Content_Length=str(len(frames(1))),
        Expect="100-continue",
    )
    wire.send(head)
    assert wire.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.transport.clear()
    wire.send(frames(1))
    assert wire.answer().status == 204

    wire.send(head.replace(token.encode(), b"wrong"))
    assert wire.answer().status == 401


def test_bodies_are_never_in_files_of_twisted_web(
    server: ServerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", forbidden)
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    body = json.dumps({"slots": [], "more": "x" * 200_000}).encode()
    assert wire.request("PUT", "/v1/keyring", body, token=token, If_Match="x").status in (200, 412)
    body = pack_header(chunk_id(1), MIB) + bytes(MIB)
    assert wire.request("POST", "/v1/chunks", body, token=token, session=session).status == 204
