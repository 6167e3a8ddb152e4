"""The server's end of the line to the client that started it."""

import os
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from obnam.pool.slabs import make_slab
from obnam.wire.lent import MEMORIES_MAX, LentPart
from obnam.wire.lifeline import LINE_MAX, Lending, LendingAnswer, Upkeep, UpkeepAsked
from obnam_server.lent import LentMemories
from obnam_server.lifeline import Lifeline
from tests.support.guard import FlushLoggedErrors


@define
class Line:
    """A lifeline, and the client's end of it."""

    reactor: MemoryReactorClock = field(factory=MemoryReactorClock)
    asked: list[UpkeepAsked] = field(factory=list)
    answer: "Deferred[Upkeep]" = field(factory=Deferred)
    lent: LentMemories = field(factory=LentMemories)
    client: socket.socket = field(init=False)
    server: Lifeline = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client, theirs = socket.socketpair()
        self.client.settimeout(10)
        line = theirs.detach()
        self.server = Lifeline(cast(Any, self.reactor), line, self.upkeep, self.lent)
        self.server.startService()

    async def upkeep(self, asked: UpkeepAsked) -> Upkeep:
        self.asked.append(asked)
        return await self.answer

    def lend(self, number: int, *descriptors: int) -> bytes:
        """Lend memory, and the server's answer."""
        socket.send_fds(self.client, [Lending(number).to_line()], descriptors)
        self.server.doRead()
        return self.client.recv(100)

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


TAKEN, REFUSED = LendingAnswer(True).to_line(), LendingAnswer(False).to_line()


def test_memory_is_lent(line: Line) -> None:
    slabs = [make_slab(4096) for _ in range(2)]
    for number, slab in enumerate(slabs):
        slab.view[:5] = b"%5d" % number
        assert line.lend(number, slab.descriptor) == TAKEN
    assert [bytes(line.lent.view(LentPart(n, 0, 5))) for n in (0, 1)] == [b"    0", b"    1"]
    for slab in slabs:
        slab.remove()
    line.say(ASKED.to_line())
    assert line.asked == [ASKED]


def test_each_memory_goes_with_its_line(line: Line) -> None:
    """Also when the lines wait together."""
    slabs = [make_slab(4096) for _ in range(2)]
    for number, slab in enumerate(slabs):
        slab.view[:5] = b"%5d" % number
        socket.send_fds(line.client, [Lending(number).to_line()], [slab.descriptor])
    for _ in range(2):  # what is read ends with what a descriptor came with
        line.server.doRead()
    assert line.client.recv(100) == 2 * TAKEN
    assert [bytes(line.lent.view(LentPart(n, 0, 5))) for n in (0, 1)] == [b"    0", b"    1"]
    for slab in slabs:
        slab.remove()


def test_lines_without_a_memory_or_with_two(line: Line) -> None:
    one, two = make_slab(4096), make_slab(4096)
    before = len(os.listdir("/proc/self/fd"))
    assert line.lend(1) == REFUSED
    assert line.lend(1, one.descriptor, two.descriptor) == REFUSED
    assert len(os.listdir("/proc/self/fd")) == before
    assert line.lend(1, one.descriptor) == TAKEN
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the mapping has one
    one.remove()
    two.remove()


def test_descriptors_without_lines(line: Line) -> None:
    slab = make_slab(4096)
    before = len(os.listdir("/proc/self/fd"))
    results = []
    for _ in range(MEMORIES_MAX + 1):
        socket.send_fds(line.client, [b" "], [slab.descriptor])
        results.append(line.server.doRead())
    assert results == [None] * MEMORIES_MAX + [CONNECTION_DONE]
    line.server.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[no-untyped-call]
    assert line.reactor.hasStopped
    line.server.stopService()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # its end of the line
    slab.remove()
