"""The body of ``POST /v1/chunks`` on its way from the connection into a segment.

Pieces come in on the reactor thread and are written by upload threads, a MiB or so at a time and
in order. While more waits than `WAITING_MAX`, the connection is paused, so that a fast client
and a slow disk do not meet in memory.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from obnam.wire.limits import MIB
from obnam_server.waiting import Waiting
from obnam_server.work import Work

log = Logger()

WRITE_AT_ONCE = MIB
"""Bytes that are gathered before a thread writes them."""

WAITING_MAX = 2 * MIB
"""Bytes that may wait for a thread before the connection is paused; less when there are many."""

UPLOADS_MEMORY = 64 * MIB
"""What all uploads together may have waiting for a thread."""

LEAST_WAITING = 128 * 1024
"""What an upload may have waiting in any case."""


class Flow(Protocol):
    """The connection that a body comes from."""

    def pause_body(self) -> None:
        """No more for now."""

    def resume_body(self) -> None:
        """Go on."""


class Target(Protocol):
    """What a body is written into, blocking: an `Upload` of the store, for one."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next pieces."""

    def finish(self) -> None:
        """That was all."""

    def abort(self) -> None:
        """There will be no more."""


T = TypeVar("T", bound=Target)


@define
class UploadBody(Generic[T]):
    """Takes pieces in, and gives a finished `Target`, or fails and leaves nothing behind.

    ``_failed`` is told of an error while the body still comes in; later ones go to whoever waits
    for `finished`. ``_waiting_max``: bytes that may wait, now.
    """

    _begin: Callable[[], T]
    _work: Work
    _flow: Flow
    _failed: Callable[[Failure], None]
    _waiting_max: Callable[[], int] = lambda: WAITING_MAX
    size_bytes: int = 0
    _waiting: Waiting = field(factory=Waiting)
    _upload: T | None = None
    _writing: bool = False
    _paused: bool = False
    _given_up: bool = False
    _end: Deferred[T] | None = None

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""
        if self._given_up:
            return
        self._waiting.add(piece)
        self._count(len(piece))

    def room(self, size_bytes: int) -> memoryview | None:
        """Where the next bytes are to be put, instead of being fed: so many at most."""
        if self._given_up:
            return None
        return self._waiting.room(size_bytes, self._write_at_once())

    def placed(self, size_bytes: int) -> None:
        """So many bytes were put there."""
        if self._given_up:
            return
        self._waiting.filled(size_bytes)
        self._count(size_bytes)

    def _count(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        if not self._writing and self._waiting.size_bytes >= self._write_at_once():
            self._write_waiting()
        elif self._waiting.size_bytes > self._waiting_max():
            # Said again with every piece: what the TLS layer had decrypted already still comes.
            self._paused = True
            self._flow.pause_body()

    def finished(self) -> "Deferred[T]":
        """The body is whole: fires when all of it is durable in a segment not yet accepted."""
        self._end = Deferred()
        if not self._writing:
            self._write_waiting()
        return self._end

    def give_up(self) -> None:
        """The rest of the body will not come, or is not wanted. Nothing is left of it."""
        if self._given_up:
            return
        self._given_up = True
        self._waiting.clear()
        if not self._writing:
            self._abort()

    def _write_at_once(self) -> int:
        return min(WRITE_AT_ONCE, self._waiting_max() // 2)

    def _write_waiting(self) -> None:
        pieces, buffers = self._waiting.take()
        self._writing = True
        written = self._work.upload(self._write, pieces, self._end is not None)
        written.addCallbacks(self._was_written, self._has_failed, (buffers,))

    def _write(self, pieces: list[bytes | memoryview], last: bool) -> bool:
        """On an upload thread, one call at a time. Whether the segment is finished."""
        if self._upload is None:
            self._upload = self._begin()
        self._upload.write(pieces)
        if last:
            self._upload.finish()
        return last

    def _was_written(self, finished: bool, buffers: list[memoryview]) -> None:
        self._writing = False
        if self._end is None:
            self._waiting.give_back(buffers)
        if self._given_up:
            # This object, and its request, may be kept for longer than its memory should.
            self._waiting.clear()
            self._abort()
        elif finished and self._end is not None and self._upload is not None:
            self._waiting.clear()
            self._end.callback(self._upload)
        elif self._end is not None or self._waiting.size_bytes >= self._write_at_once():
            self._write_waiting()
        if self._paused and not self._given_up and self._waiting.size_bytes < self._write_at_once():
            self._paused = False
            self._flow.resume_body()

    def _has_failed(self, failure: Failure) -> None:
        self._writing = False
        already, self._given_up = self._given_up, True
        self._waiting.clear()
        self._abort()
        if self._end is not None:
            self._end.errback(failure)
        elif not already:
            self._failed(failure)

    def _abort(self) -> None:
        if self._upload is not None:
            aborted = self._work.upload(self._upload.abort)
            aborted.addErrback(lambda failure: log.failure("Abort failed", failure=failure))


@define(eq=False)
class UploadPlace:
    """The short way of a body into an `UploadBody`: a `Place`.

    ``_decoder``: of the HTTP parser, which counts down the ``contentLength`` of a body.
    """

    _upload: UploadBody[Any]
    _decoder: Any

    def room(self) -> memoryview | None:
        """See `Place`. The last byte is left to the parser, which ends the body with it."""
        left_bytes = self._decoder.contentLength - 1
        return self._upload.room(left_bytes) if left_bytes > 0 else None

    def filled(self, size_bytes: int) -> None:
        """See `Place`."""
        self._decoder.contentLength -= size_bytes
        self._upload.placed(size_bytes)
