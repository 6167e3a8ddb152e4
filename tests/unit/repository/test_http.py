"""Requests, bodies and silences of a server that does anything."""

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from obnam import errors
from obnam.wire import limits
from obnam.wire.frames import pack_header
from tests.support.hostile_scene import SESSION, A, B, Scene, frame, until
from tests.support.hostile_server import HostileConnection, answer

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor

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


@pytest.mark.parametrize(
    ("cut", "whole"), [(0, 0), (36, 0), (37, 0), (39, 0), (40, 1), (77, 1), (79, 1), (80, 2)]
)
@ensure
async def test_what_came_before_the_connection_was_lost_is_counted(
    scene: Scene, cut: int, whole: int
) -> None:
    """In chunks that are whole, and lie where they would."""
    body = frame(A, b"one") + frame(B, b"two") + frame(A, b"three")

    def send_some(connection: HostileConnection, _: bytes) -> None:
        connection.send(answer(body[:cut], length=len(body)))
        connection.close()

    scene.server.reply = send_some
    into = memoryview(bytearray(2000))
    with pytest.raises(errors.ServerUnreachable) as caught:
        await scene.repository.fetch([A, B, A], into)
    assert caught.value.problem == "the connection was lost"
    assert caught.value.whole_chunks == whole
    assert bytes(into[:cut]) == body[:cut]
    assert caught.value.carried_bytes == 3 * len(A) + cut


@ensure
async def test_how_much_of_a_body_was_under_way_is_told(scene: Scene) -> None:
    scene.server.reply_to_head = True
    scene.server.reply = lambda connection, _: connection.transport.abortConnection()  # type: ignore[union-attr]
    with pytest.raises(errors.ServerUnreachable) as caught:
        await scene.repository.store(SESSION, memoryview(bytes(limits.UPLOAD_BODY_MAX)))
    assert 0 < caught.value.carried_bytes < limits.UPLOAD_BODY_MAX


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
async def test_an_answer_that_dribbles(scene: Scene) -> None:
    """A byte now and then is no silence, but nobody is held by it for ever."""
    scene.reply(answer(frame(A, b"o"), length=100_000))
    into = bytearray(200_000)
    began_s = scene.clock.seconds()
    asked = scene.repository.fetch([A], memoryview(into))
    await until(lambda: into[37:38] == b"o")
    for sent in range(1, 5):
        scene.clock.advance(limits.SILENCE_S / 2 - 1)
        assert not asked.called
        scene.server.connections[0].send(b"x")
        await until(lambda: into.count(b"x") == sent)  # noqa: B023
    scene.clock.advance(limits.SILENCE_S / 2 - 1)
    with pytest.raises(errors.ServerUnreachable, match="more slowly than 1024 bytes/s") as caught:
        await asked
    assert (caught.value.carried_bytes, caught.value.whole_chunks) == (0, 0)
    assert caught.value.silent_s == pytest.approx(scene.clock.seconds() - began_s)
    await until(lambda: scene.server.lost)
    assert scene.clock.getDelayedCalls() == []


@ensure
async def test_a_slow_line_is_fast_enough(scene: Scene) -> None:
    """Twice the least rate, in pieces with long pauses, for as long as it takes."""
    sealed = bytes(1 << 20)
    body = frame(A, sealed)
    scene.reply(answer(b"", length=len(body)))
    into = bytearray(len(body))
    asked = scene.repository.fetch([A], memoryview(into))
    await until(lambda: scene.server.requests)
    step = int(2 * limits.SLOWEST_BYTES_PER_S * limits.SILENCE_S * 0.9)
    heard = 0
    while heard < len(body):
        piece = body[heard : heard + step]
        scene.server.connections[0].send(piece)
        heard += len(piece)
        into[heard - 1] = 1
        await until(lambda: into[heard - 1] == 0)  # noqa: B023
        scene.clock.advance(limits.SILENCE_S * 0.9)
    assert [each.length for each in await asked] == [len(sealed)]


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
async def test_what_is_under_way_has_time(scene: Scene) -> None:
    """A tunnel takes megabytes at once, and carries them as slowly as its link: no silence yet."""
    body = memoryview(bytes(limits.MIB))
    stored = scene.repository.store(SESSION, body)
    await until(lambda: scene.server.requests)
    under_way_s = limits.MIB / limits.SLOWEST_LINK_BYTES_PER_S
    scene.clock.advance(limits.SILENCE_S + under_way_s - 1)
    assert not stored.called
    scene.clock.advance(1)
    with pytest.raises(errors.ServerUnreachable, match="no answer for 188 seconds") as caught:
        await stored
    assert caught.value.silent_s == limits.SILENCE_S + under_way_s


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
