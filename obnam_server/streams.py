"""A long answer on its way out: read ahead by threads, written as fast as the client takes it."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from obnam.wire.limits import MIB, SILENCE_S, SLOWEST_BYTES_PER_S
from obnam_server.work import Work

READ_AHEAD = 4 * MIB
"""Bytes that are read before the client has room for them, per answer; less when there are many."""

ANSWERS_MEMORY = 64 * MIB
"""Bytes that are read ahead for all answers together."""

LEAST_READ_AHEAD = 256 * 1024
"""Bytes that are read ahead for an answer in any case."""

READ_AT_ONCE = 2 * MIB
"""Bytes that a thread reads before it hands them over: waking the reactor costs more than that."""


class Outlet(Protocol):
    """The part of a request that an answer is written to."""

    def write(self, data: bytes) -> None:
        """Send."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Say when to pause."""

    def unregisterProducer(self) -> None:
        """No more to come."""


class ClientGone(Exception):
    """The client closed the connection, or took nothing for too long."""


class LengthDiffers(Exception):
    """What was read has not the length that the headers announced."""


@implementer(IPushProducer)
@define(eq=False)
class Stream:
    """Writes ``parts`` to ``outlet``, one a call: `run` fires when the last byte is handed over.

    Fails with `ClientGone`, `LengthDiffers`, or with the error of a read. The headers
    are out by then, so that whoever waits can only cut the connection.
    """

    _parts: Iterator[bytes]
    _length: int
    _outlet: Outlet
    _work: Work
    _clock: IReactorTime
    _read_ahead: int = READ_AHEAD
    _ready: deque[bytes] = field(factory=deque)
    _ready_bytes: int = 0
    _read_bytes: int = 0
    _reading: bool = False
    _exhausted: bool = False
    _paused: bool = False
    _writing: bool = False
    _silence: IDelayedCall | None = None
    _deadline: IDelayedCall | None = None
    _done: Deferred[None] | None = None

    def run(self) -> "Deferred[None]":
        """Begin."""
        self._done = Deferred(lambda _: self._finish(Failure(ClientGone())))
        in_time_s = SILENCE_S + self._length / SLOWEST_BYTES_PER_S
        self._deadline = self._clock.callLater(in_time_s, self._too_silent)
        self._outlet.registerProducer(self, True)
        self._read_on()
        return self._done

    def pauseProducing(self) -> None:
        """The connection's buffer is full."""
        self._paused = True
        if self._silence is None and self._done is not None:
            self._silence = self._clock.callLater(SILENCE_S, self._too_silent)

    def resumeProducing(self) -> None:
        """There is room again."""
        self._paused = False
        self._hear()
        self._write_on()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._finish(Failure(ClientGone()))

    def _too_silent(self) -> None:
        self._finish(Failure(ClientGone()))

    def _hear(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
        self._silence = None

    def _read_on(self) -> None:
        if self._reading or self._exhausted or self._ready_bytes >= self._read_ahead:
            return
        self._reading = True
        self._work.read(self._read).addCallbacks(self._was_read, self._finish)

    def _read(self) -> list[bytes]:
        """On a reader thread, one call at a time: the next pieces; none: the end."""
        pieces: list[bytes] = []
        size = 0
        most = min(READ_AT_ONCE, self._read_ahead)
        while size < most and (piece := next(self._parts, None)) is not None:
            pieces.append(piece)
            size += len(piece)
        return pieces

    def _was_read(self, pieces: list[bytes]) -> None:
        self._reading = False
        if self._done is None:
            return
        size = sum(map(len, pieces))
        self._read_bytes += size
        self._ready_bytes += size
        self._exhausted = not pieces
        if self._read_bytes > self._length or (self._exhausted and self._read_bytes < self._length):
            self._finish(Failure(LengthDiffers()))
            return
        self._ready.extend(pieces)
        self._write_on()

    def _write_on(self) -> None:
        if self._writing or self._done is None:
            return  # called again by the connection while it takes a piece
        self._read_on()
        self._writing = True
        while self._ready and not self._paused:
            piece = self._ready.popleft()
            self._ready_bytes -= len(piece)
            self._outlet.write(piece)
        self._writing = False
        if self._exhausted and not self._ready:
            self._finish(None)
        else:
            self._read_on()

    def _finish(self, failure: Failure | None) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._hear()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._ready.clear()
        self._outlet.unregisterProducer()
        if failure is None:
            done.callback(None)
        else:
            done.errback(failure)
