"""The server's end of the line to the client that started it."""

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from obnam.wire.lifeline import LINE_MAX, Upkeep, UpkeepAsked
from obnam_server.lifeline import Lifeline
from tests.support.guard import FlushLoggedErrors


@define
class Line:
    """A lifeline, and the client's end of it."""

    reactor: MemoryReactorClock = field(factory=MemoryReactorClock)
    asked: list[UpkeepAsked] = field(factory=list)
    answer: "Deferred[Upkeep]" = field(factory=Deferred)
    client: socket.socket = field(init=False)
    server: Lifeline = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client, theirs = socket.socketpair()
        self.client.settimeout(10)
        self.server = Lifeline(cast(Any, self.reactor), theirs.detach(), self.upkeep)
        self.server.startService()

    async def upkeep(self, asked: UpkeepAsked) -> Upkeep:
        self.asked.append(asked)
        return await self.answer

    def say(self, data: bytes) -> object:
        self.client.sendall(data)
        return self.server.doRead()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    line.reactor.run()  # type: ignore[no-untyped-call]
    line.reactor.hasStopped = False
    assert line.client.recv(100) == b"ready\n"
    yield line
    line.server.stopService()
    line.client.close()


ASKED = UpkeepAsked(60)
DONE = Upkeep(read_bytes=7)


def test_upkeep_is_asked_for_once(line: Line) -> None:
    said = ASKED.to_line()
    assert line.say(said[:10]) is None
    assert line.asked == []
    assert line.say(said[10:]) is None
    line.say(said)
    assert line.asked == [ASKED]
    line.answer.callback(DONE)
    assert Upkeep.from_line(line.client.recv(LINE_MAX)) == DONE


def test_the_longest_answer_needs_no_waiting(line: Line) -> None:
    many = ("\U0001f4a5" * 2000,) * 100
    done = Upkeep(warnings=many, remarks=many)
    line.say(ASKED.to_line())
    line.answer.callback(done)
    assert not line.reactor.hasStopped
    wanted = done.to_line()
    assert line.client.recv(len(wanted), socket.MSG_WAITALL) == wanted


def test_what_it_does_not_understand_ends_it(line: Line) -> None:
    line.say(b"?\n")
    assert line.reactor.hasStopped


def test_a_line_without_an_end(line: Line) -> None:
    line.client.settimeout(None)
    results = [line.say(b"x" * 10_000) for _ in range(14)]
    assert results == [None] * 13 + [CONNECTION_DONE]


def test_a_mistake_of_ours_is_told(line: Line, flush_logged_errors: FlushLoggedErrors) -> None:
    line.say(ASKED.to_line())
    line.answer.errback(ZeroDivisionError("ours"))
    (warning,) = Upkeep.from_line(line.client.recv(LINE_MAX)).warnings
    assert "ours" in warning
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


def test_stopped_in_the_middle(line: Line) -> None:
    line.say(ASKED.to_line())
    line.client.close()
    assert line.server.doRead() is CONNECTION_DONE
    line.server.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[no-untyped-call]
    assert line.reactor.hasStopped
    line.server.stopService()
    line.answer.errback(CancelledError())  # by the rounds, which are stopped


def test_an_answer_that_nobody_takes(line: Line) -> None:
    line.say(ASKED.to_line())
    line.client.close()
    line.answer.callback(DONE)
    assert line.reactor.hasStopped
