"""Bodies in memory that the server was lent: asked for without being sent, and never twice."""

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field
from twisted.internet.defer import CancelledError

from obnam.errors import ServerFull, ServerUnreachable
from obnam.repository.http import HttpRepository
from obnam.wire.lent import Lent, LentPart
from obnam.wire.members import BadMessage
from obnam.wire.problems import CONTENT_TYPE
from tests.support.hostile_scene import SESSION, Scene, until
from tests.support.hostile_server import HostileConnection

ensure = pytest_twisted.ensureDeferred

BODY = bytes(range(256)) * 4096
STORED = b"HTTP/1.1 204 No Content\r\n\r\n"


@define
class Lender:
    """Lends, or not. ``asked``: the numbers of what was to be lent."""

    is_willing: bool = True
    asked: list[int] = field(factory=list)

    async def lend(self, lent: Lent) -> bool:
        self.asked.append(lent.number)
        return self.is_willing


@define
class Sent:
    """What the server got."""

    heads: list[bytes] = field(factory=list)
    bodies: list[bytes] = field(factory=list)


def listening(scene: Scene, answer: bytes = STORED) -> Sent:
    sent = Sent()

    def keep(connection: HostileConnection, body: bytes) -> None:
        sent.heads.append(scene.server.requests[-1].partition(b"\r\n\r\n")[0].lower())
        sent.bodies.append(body)
        if answer:
            connection.send(answer)

    scene.server.reply = keep
    return sent


def lending(scene: Scene, lender: Lender) -> HttpRepository:
    return HttpRepository(scene.repository._exchange, lend=lender.lend)


@ensure
async def test_a_body_that_is_lent_is_not_sent(scene: Scene) -> None:
    sent, lender = listening(scene), Lender()
    lent = Lent(7, 1, 4096)
    await lending(scene, lender).store(SESSION, memoryview(BODY), lent)
    assert sent.bodies == [b""]
    lines = sent.heads[0].split(b"\r\n")
    assert b"obnam-lent: 7 4096 %d" % len(BODY) in lines
    assert b"content-length: 0" in lines
    assert b"obnam-session: " + SESSION.encode() in lines
    assert lender.asked == [7]
    assert not lent.in_doubt


@ensure
async def test_what_is_not_taken_is_sent(scene: Scene) -> None:
    sent, lent = listening(scene), Lent(7, 1, 4096)
    await lending(scene, Lender(is_willing=False)).store(SESSION, memoryview(BODY), lent)
    await scene.repository.store(SESSION, memoryview(BODY), lent)  # a server that is far away
    assert sent.bodies == [BODY] * 2
    assert not any(b"obnam-lent" in head for head in sent.heads)
    assert not lent.in_doubt


@ensure
async def test_a_request_without_an_answer_leaves_doubt(scene: Scene) -> None:
    sent, lender = listening(scene, b""), Lender()
    repository, lent = lending(scene, lender), Lent(7, 1, 0)
    silent = repository.store(SESSION, memoryview(BODY), lent)
    await until(lambda: sent.bodies)
    scene.clock.advance(100)
    with pytest.raises(ServerUnreachable):
        await silent
    assert lent.in_doubt

    # The server may still be at it. What is sent now is not mistaken for what it reads.
    again = listening(scene)
    await repository.store(SESSION, memoryview(BODY), lent)
    assert again.bodies == [BODY]
    assert lender.asked == [7]
    assert lent.in_doubt


@ensure
async def test_cancelling_leaves_doubt(scene: Scene) -> None:
    sent, lent = listening(scene, b""), Lent(7, 1, 0)
    storing = lending(scene, Lender()).store(SESSION, memoryview(BODY), lent)
    await until(lambda: sent.bodies)
    storing.cancel()
    with pytest.raises(CancelledError):
        await storing
    assert lent.in_doubt


@ensure
async def test_a_refusal_is_told(scene: Scene) -> None:
    body = b'{"type": "urn:obnam:problem:full", "status": 507, "title": "full"}'
    head = f"HTTP/1.1 507 Full\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}"
    listening(scene, head.encode() + b"\r\n\r\n" + body)
    with pytest.raises(ServerFull):
        await lending(scene, Lender()).store(SESSION, memoryview(BODY), Lent(7, 1, 0))


def test_the_header() -> None:
    part = LentPart(1, 2, 3)
    assert LentPart.from_header(part.to_header()) == part
    for bad in ("", "1 2", "1 2 3 4", " 1 2 3", "1 2 3\n", "1 2 \u0663", "1 2 3.0"):
        with pytest.raises(BadMessage):
            LentPart.from_header(bad)
