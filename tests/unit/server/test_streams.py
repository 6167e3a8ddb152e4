"""A long answer on its way out."""

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from obnam.wire.limits import MIB, SILENCE_S
from obnam_server.store.segments.fetch import PIECE_BYTES
from obnam_server.streams import READ_AHEAD, ClientGone, LengthDiffers, Stream
from tests.support.server_in_memory import WorkByHand


@define
class FullAfter:
    """A connection that says "pause" after a number of writes."""

    writes: int
    received: list[bytes] = field(factory=list)
    producer: Any = None

    def write(self, data: bytes) -> None:
        self.received.append(data)
        self.writes -= 1
        if self.writes == 0:
            self.producer.pauseProducing()

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def make_room(self, writes: int) -> None:
        self.writes = writes
        self.producer.resumeProducing()


@define
class Parts:
    """Parts of 1 MiB in pieces, each of another byte; counts how many were asked for."""

    count: int
    asked: int = 0

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.count):
            self.asked += 1
            for _ in range(MIB // PIECE_BYTES):
                yield bytes([number]) * PIECE_BYTES


@define
class Case:
    parts: Parts
    outlet: FullAfter
    length: int | None = None
    clock: Clock = field(factory=Clock)
    work: WorkByHand = field(init=False)
    done: "Deferred[None]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.work = WorkByHand(self.clock)  # type: ignore[arg-type]
        length = self.parts.count * MIB if self.length is None else self.length
        stream = Stream(iter(self.parts), length, self.outlet, self.work, self.clock)
        self.done = stream.run()
        self.work.do_all()

    def failure_of(self, kind: type[Exception]) -> None:
        failed: list[Failure] = []
        self.done.addErrback(failed.append)
        assert [failure.type for failure in failed] == [kind]


def test_all_parts_in_order_in_small_pieces() -> None:
    case = Case(Parts(5), FullAfter(-1))
    assert case.done.called
    assert case.outlet.producer is None
    assert {len(piece) for piece in case.outlet.received} == {PIECE_BYTES}
    expected = b"".join(bytes([n]) * MIB for n in range(5))
    assert b"".join(case.outlet.received) == expected


def test_a_full_connection_stops_the_reading_too() -> None:
    case = Case(Parts(50), FullAfter(1))
    assert len(case.outlet.received) == 1
    assert case.parts.asked <= 2 + READ_AHEAD // MIB
    while case.outlet.producer is not None:
        case.outlet.make_room(3)
        case.work.do_all()
    assert case.done.called
    assert sum(map(len, case.outlet.received)) == 50 * MIB


def test_a_client_that_takes_nothing_is_given_up() -> None:
    case = Case(Parts(5), FullAfter(1))
    case.clock.advance(SILENCE_S - 1)
    assert not case.done.called
    case.clock.advance(1)
    case.failure_of(ClientGone)
    assert not case.clock.getDelayedCalls()


def test_a_slow_client_is_not() -> None:
    case = Case(Parts(3), FullAfter(1))
    while case.outlet.producer is not None:
        case.clock.advance(SILENCE_S - 1)
        case.outlet.make_room(1)
        case.work.do_all()
    assert case.done.called
    case.done.addErrback(lambda failure: pytest.fail(str(failure)))
    assert not case.clock.getDelayedCalls()


def test_a_client_that_goes_away() -> None:
    case = Case(Parts(5), FullAfter(1))
    case.outlet.producer.stopProducing()
    case.work.do_all()
    case.failure_of(ClientGone)
    assert len(case.outlet.received) == 1
    assert not case.clock.getDelayedCalls()


@pytest.mark.parametrize("length", [3 * MIB - 1, 3 * MIB + 1])
def test_another_length_than_announced_is_an_error(length: int) -> None:
    case = Case(Parts(3), FullAfter(-1), length)
    case.failure_of(LengthDiffers)
    assert sum(map(len, case.outlet.received)) <= length


def test_an_error_while_reading_is_told() -> None:
    class Broken(Parts):
        def __iter__(self) -> Iterator[bytes]:
            yield bytes(MIB)
            raise OSError("disk")

    case = Case(Broken(3), FullAfter(-1))
    case.failure_of(OSError)
    assert case.outlet.producer is None
