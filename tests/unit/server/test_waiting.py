"""Requests that wait for their turn, on the real application: paused, let in, refused."""

from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from obnam.model.ids import SessionId
from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids, pack_references
from obnam.wire.limits import MIB, SEALED_CHUNK_MAX, SILENCE_S, UPLOAD_BODY_MAX
from obnam_server.requests import KEPT_FREELY_MAX
from obnam_server.sharing.crowd import (
    CONNECTIONS_MAX,
    CONNECTIONS_PER_CLIENT_MAX,
    STRANGERS_PER_SOURCE_MAX,
)
from obnam_server.sharing.queues import WAIT_S
from obnam_server.sharing.turns import BODIES, UPLOADS
from tests.support.raw_backup import begin, chunk_id, frames, problem, store
from tests.support.server_in_memory import ServerInMemory, Wire

AT_ONCE = 5
"""Uploads of 16 MiB that one client may have at once: its first, and 64 MiB."""


def begun(
    server: ServerInMemory, token: str, session: SessionId, length: int = UPLOAD_BODY_MAX
) -> Wire:
    """A connection on which the head of an upload has come in."""
    wire = server.connect()
    head = wire.head("POST", "/v1/chunks", token=token, session=session, Content_Length=str(length))
    wire.send(head)
    return wire


def waits(wire: Wire) -> bool:
    return bool(wire.transport.producerState == "paused")


@pytest.fixture
def own(server: ServerInMemory) -> Iterator[tuple[str, SessionId]]:
    token = server.token("laptop")
    yield token, begin(server.connect(), token)


def test_beyond_its_share_a_client_waits_for_itself(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    wires = [begun(server, *own) for _ in range(AT_ONCE + 1)]
    assert [waits(wire) for wire in wires] == [False] * AT_ONCE + [True]
    assert not any(wire.closed for wire in wires)
    other = server.token("other")
    assert store(server.connect(), other, begin(server.connect(), other), 1).status == 204
    wires[0].lose()
    assert not waits(wires[AT_ONCE])
    assert len(server.site.services.queues.uploads) == AT_ONCE
    # And it is taken as if it had not waited.
    chunk = pack_header(chunk_id(1), SEALED_CHUNK_MAX - 37) + bytes(SEALED_CHUNK_MAX - 37)
    for wire in wires[1:AT_ONCE]:
        wire.lose()
    rest = UPLOAD_BODY_MAX - len(chunk)
    wires[AT_ONCE].send(chunk)
    wires[AT_ONCE].send(pack_header(chunk_id(2), SEALED_CHUNK_MAX) + bytes(SEALED_CHUNK_MAX))
    wires[AT_ONCE].send(pack_header(chunk_id(3), SEALED_CHUNK_MAX) + bytes(SEALED_CHUNK_MAX))
    left = rest - 2 * (SEALED_CHUNK_MAX + 37) - 37
    wires[AT_ONCE].send(pack_header(chunk_id(4), left) + bytes(left))
    assert wires[AT_ONCE].answer().status == 204
    assert len(server.site.services.queues.uploads) == 0


def test_who_waits_too_long_is_asked_to_come_back(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    wires = [begun(server, *own) for _ in range(AT_ONCE + 1)]
    server.advance(WAIT_S)
    answer = wires[-1].answer()
    assert (answer.status, problem(answer)) == (429, "too-many-requests")
    assert answer.headers["retry-after"] == "5"
    assert wires[-1].closed
    assert all(wire.nothing() for wire in wires[:-1])


def test_whose_turn_comes_when_it_is_gone_leaves_it_to_others(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    """However that came about: nobody else would ever give the turn back."""
    wire, queue = begun(server, *own), server.site.services.queues.uploads
    (request,) = wire.channel.requests
    wire.lose()
    taking = Deferred.fromCoroutine(request.take_turn(queue, UPLOAD_BODY_MAX))
    failures: list[Failure] = []
    taking.addErrback(failures.append)
    assert [failure.type for failure in failures] == [CancelledError]
    assert len(queue) == 0


def test_waiting_is_bounded(server: ServerInMemory, own: tuple[str, SessionId]) -> None:
    room = AT_ONCE + UPLOADS.client_waiting
    wires = [begun(server, *own) for _ in range(room + 1)]
    assert problem(wires[-1].answer()) == "too-many-requests"
    assert all(wire.nothing() for wire in wires[:-1])
    # One that waits and goes away makes room. It is noticed when it is let on, or refused.
    wires[-2].lose()
    assert begun(server, *own).nothing()


def test_too_many_of_all(server: ServerInMemory) -> None:
    """The server's limit is another answer. Firsts go as long as there is room for any."""
    wires = []
    for number in range(UPLOADS.requests):
        token = server.token(f"client-{number}")
        session = begin(server.connect(f"10.0.0.{number}"), token)
        wires.append(begun(server, token, session))
    assert not any(waits(wire) for wire in wires)
    late = begun(server, token, session)
    token = server.token("late")
    last = begun(server, token, begin(server.connect(), token))
    assert waits(late)
    assert waits(last)
    server.advance(WAIT_S)
    assert [problem(wire.answer()) for wire in (late, last)] == ["busy", "busy"]
    wires[0].lose()
    assert not waits(begun(server, token, begin(server.connect(), token)))


def test_a_body_that_came_along_waits_too(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    """What was received already is held, and taken when its turn comes."""
    wires = [begun(server, *own) for _ in range(AT_ONCE)]
    small = [server.connect() for _ in range(12)]
    for number, wire in enumerate(small):
        body = frames(100 + number)
        wire.send(wire.head("POST", "/v1/chunks", body, token=own[0], session=own[1]))
    assert all(wire.nothing() for wire in small)
    wires[1].lose()
    assert [wire.answer().status for wire in small] == [204] * 12


def test_large_bodies_that_are_kept_wait(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    token, session = own
    path = f"/v1/sessions/{session}/references"
    size = 33 * (KEPT_FREELY_MAX // 33 + 1) + 4
    at_once = 1 + BODIES.client_extra_bytes // MIB
    wires = [server.connect() for _ in range(at_once + 1)]
    for wire in wires:
        wire.send(wire.head("POST", path, token=token, Content_Length=str(size)))
    assert [waits(wire) for wire in wires] == [False] * at_once + [True]
    few = pack_references([chunk_id(1)], [])
    assert server.connect().request("POST", path, few, token=token).status == 204
    wires[0].lose()
    assert not waits(wires[-1])


def test_answers_wait(server: ServerInMemory, own: tuple[str, SessionId]) -> None:
    """Who does not take his answers waits for them, and others do not."""
    token, session = own
    for number in range(4):
        size = SEALED_CHUNK_MAX - 37
        body = pack_header(chunk_id(number), size) + bytes(size)
        wire = server.connect()
        assert wire.request("POST", "/v1/chunks", body, token=token, session=session).status == 204
    ids = pack_ids([chunk_id(number) for number in range(4)])

    def fetch(whose: str) -> Wire:
        wire = server.connect()
        wire.transport.write = lambda _: wire.transport.producer.pauseProducing()
        wire.send(wire.head("POST", "/v1/chunks/fetch", ids, token=whose))
        return wire

    wires = [fetch(token) for _ in range(6)]
    assert len(server.site.services.queues.answers) == 5
    colleague = server.token("colleague", "laptop")
    answer = server.connect().request("POST", "/v1/chunks/fetch", ids, token=colleague)
    assert (answer.status, len(answer.body)) == (200, 4 * SEALED_CHUNK_MAX)
    wires[0].transport.producer.stopProducing()  # as a real connection does
    wires[0].lose()
    assert len(server.site.services.queues.answers) == 5
    # They are cut for their silence, and nothing is left of them.
    server.advance(SILENCE_S)
    assert len(server.site.services.queues.answers) <= 1
    server.advance(SILENCE_S)
    assert len(server.site.services.queues.answers) == 0


# Connections


def test_idle_strangers_take_room_from_their_own_address_only(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    known = server.connect()
    assert known.request("GET", "/v1/repository", token=own[0]).status == 200
    idle = [server.connect() for _ in range(STRANGERS_PER_SOURCE_MAX + 10)]
    assert sum(wire.closed for wire in idle) >= 10
    assert not idle[-1].closed
    assert idle[-1].request("GET", "/v1/repository", token=own[0]).status == 200
    assert known.request("GET", "/v1/repository", token=own[0]).status == 200


def test_many_idle_strangers_from_everywhere(
    server: ServerInMemory, own: tuple[str, SessionId]
) -> None:
    known = server.connect()
    assert known.request("GET", "/v1/repository", token=own[0]).status == 200
    for number in range(CONNECTIONS_MAX + 50):
        server.connect(f"192.0.{number % 4}.1")
    assert len([each for each in server.wires if not each.closed]) <= CONNECTIONS_MAX
    assert known.request("GET", "/v1/repository", token=own[0]).status == 200
    assert server.connect().request("GET", "/v1/repository", token=own[0]).status == 200


def test_connections_of_one_client(server: ServerInMemory, own: tuple[str, SessionId]) -> None:
    """Wherever they come from; and those of others are not concerned."""
    wires = [server.connect(f"192.0.2.{n}") for n in range(CONNECTIONS_PER_CLIENT_MAX)]
    ask = [wire.request("GET", "/v1/repository", token=own[0]).status for wire in wires]
    answer = server.connect().request("GET", "/v1/repository", token=own[0])
    # The session of the fixture was begun on one more.
    assert [*ask, answer.status].count(200) == CONNECTIONS_PER_CLIENT_MAX - 1
    assert problem(answer) == "too-many-requests"
    other = server.token("other")
    assert server.connect().request("GET", "/v1/repository", token=other).status == 200
    wires[0].lose()
    assert server.connect().request("GET", "/v1/repository", token=own[0]).status == 200
