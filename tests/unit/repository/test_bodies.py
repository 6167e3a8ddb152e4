"""Bodies from memory: paused, resumed, and let go of."""

import gc
import weakref
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from obnam.repository.bodies import PIECE_BYTES, MemoryProducer
from obnam.repository.silence import Silence
from obnam.transport.places import BulkTransport


class Memory(bytearray):
    """Memory that can be watched."""


@define
class Consumer:
    """Takes pieces, and pauses the producer after each ``patience`` of them."""

    producer: MemoryProducer
    patience: int
    taken: list[bytes] = field(factory=list)

    def write(self, data: bytes) -> None:
        self.taken.append(data)
        if len(self.taken) % self.patience == 0:
            self.producer.pauseProducing()


def started(body: bytes | bytearray, patience: int) -> tuple[MemoryProducer, Consumer, Any]:
    producer = MemoryProducer(memoryview(body), Silence(Clock(), 60))
    consumer = Consumer(producer, patience)
    return producer, consumer, producer.startProducing(consumer)  # type: ignore[arg-type]


@given(st.integers(0, 3 * PIECE_BYTES), st.integers(1, 5))
def test_everything_is_sent_in_pieces(length: int, patience: int) -> None:
    body = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    producer, consumer, done = started(body, patience)
    while not done.called:
        before = len(consumer.taken)
        producer.resumeProducing()
        assert len(consumer.taken) - before <= patience
    assert b"".join(consumer.taken) == body
    assert all(0 < len(piece) <= PIECE_BYTES for piece in consumer.taken)


def test_a_pause_holds() -> None:
    _, consumer, done = started(bytes(4 * PIECE_BYTES), 1)
    assert len(consumer.taken) == 1
    assert not done.called


@define
class Lender(BulkTransport):
    """A transport that takes memory and keeps none, or fails."""

    fails: bool = False
    kinds: list[type] = field(factory=list)
    taken: list[object] = field(factory=list)

    def write(self, data: bytes) -> None:
        self.kinds.append(type(data))
        self.taken.append(data)
        if self.fails:
            raise RuntimeError


@define
class Counting:
    """What twisted.web has in front of a transport."""

    _consumer: object

    def write(self, data: bytes) -> None:
        self._consumer.write(data)  # type: ignore[attr-defined]


def test_memory_is_lent_to_who_keeps_none() -> None:
    transport = Lender()
    body = bytearray(2 * PIECE_BYTES)
    producer = MemoryProducer(memoryview(body), Silence(Clock(), 60))
    done: Any = producer.startProducing(Counting(transport))  # type: ignore[arg-type]
    assert done.called
    assert transport.kinds == [memoryview, memoryview]
    # Whoever keeps it all the same finds nothing in it, and the memory is free.
    with pytest.raises(ValueError, match="released"):
        bytes(transport.taken[0])  # type: ignore[call-overload]
    body.clear()


def test_memory_is_free_when_writing_fails() -> None:
    body = bytearray(2 * PIECE_BYTES)
    producer = MemoryProducer(memoryview(body), Silence(Clock(), 60))
    with pytest.raises(RuntimeError) as kept:
        producer.startProducing(Counting(Lender(fails=True)))  # type: ignore[arg-type]
    producer.stopProducing()
    assert kept.tb is not None
    body.clear()


def test_the_deferred_comes_even_when_all_is_done_at_once() -> None:
    _, _, done = started(b"", 1)
    assert done.called


def test_the_memory_is_let_go_of_when_done() -> None:
    body = Memory(3 * PIECE_BYTES)
    watched = weakref.ref(body)
    producer, _, done = started(body, 100)
    assert done.called
    del body
    gc.collect()
    assert watched() is None
    assert producer.length == 3 * PIECE_BYTES


def test_the_memory_is_let_go_of_when_stopped() -> None:
    body = Memory(3 * PIECE_BYTES)
    watched = weakref.ref(body)
    producer, consumer, done = started(body, 1)
    producer.stopProducing()
    del body
    gc.collect()
    assert watched() is None
    producer.resumeProducing()
    assert len(consumer.taken) == 1
    assert not done.called


def test_what_is_sent_is_a_copy() -> None:
    """The transport may keep a piece after the engine has used the memory again."""
    body = bytearray(b"a" * 100)
    _, consumer, _ = started(body, 100)
    body[:] = b"b" * 100
    assert consumer.taken == [b"a" * 100]
