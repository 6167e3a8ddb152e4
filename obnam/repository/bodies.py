"""Bodies on their way: sent from memory in pieces, received within bounds.

Both ends of a transfer let go of the caller's memory the moment the request is over, however it
ended: the engine uses its shared memory again for the next chunk at once, and twisted.web keeps
requests, and with them their bodies, longer than one thinks (three 16 MiB bodies that were
kept made a client of 850 MB).
"""

from collections.abc import Callable, Sequence
from typing import Protocol as StructuralType
from typing import TypeVar, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from obnam.model.ids import ChunkId
from obnam.repository.shortcut import Shortcut
from obnam.repository.silence import Silence
from obnam.transport.places import BulkTransport
from obnam.wire.frames import FRAME_HEADER_BYTES, BadFrame, Frame, unpack_header

T = TypeVar("T")

PIECE_BYTES = 256 * 1024
"""Written to the transport in one call: of 64 KiB, 256 KiB, 1 MiB and all at once the fastest."""


class TooLong(Exception):
    """A body is longer than it may be: it is not read to its end."""


@implementer(IBodyProducer)
class MemoryProducer:
    """Sends ``body`` in pieces, honouring pauses, and then forgets it.

    ``silence`` is told of each piece that the transport takes.
    """

    def __init__(self, body: memoryview, silence: Silence) -> None:
        self.length = len(body)
        self._body: memoryview | None = body
        self._silence = silence
        self._at = 0
        self._paused = self._lent = False
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] | None = None

    @property
    def taken_bytes(self) -> int:
        """How much of it the transport has taken."""
        return self._at

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":  # noqa: N802
        """Begin; the Deferred fires when the last piece was handed over."""
        # Kept in a local, because it may be done, and forgotten, before this method returns.
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._done, self._consumer = done, consumer
        # twisted.web puts one that counts before the transport.
        self._lent = isinstance(getattr(consumer, "_consumer", None), BulkTransport)
        self._produce()
        return done

    def pauseProducing(self) -> None:  # noqa: N802
        """The transport has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        """The transport takes more."""
        self._paused = False
        self._produce()

    def stopProducing(self) -> None:  # noqa: N802
        """Send no more, and let go of the memory."""
        self._body = self._consumer = self._done = None

    def _produce(self) -> None:
        while not self._paused and self._body is not None and self._consumer is not None:
            if self._at == self.length:
                done = self._done
                self._silence.handed_over(self.length)
                self.stopProducing()
                if done is not None:
                    done.callback(None)
                return
            # Released when it is written, whoever still knows it: the memory is the caller's.
            with self._body[self._at : self._at + PIECE_BYTES] as piece:
                self._at += len(piece)
                self._silence.heard()
                # The consumer says "bytes", and only counts and passes on.
                self._consumer.write(cast(bytes, piece) if self._lent else bytes(piece))


class Receiver(StructuralType):
    """What becomes of a body's bytes. ``take`` and ``end`` raise for a body that is not right."""

    def take(self, data: bytes) -> None:
        """The next piece."""

    def end(self) -> None:
        """That was all."""


@define
class Collected:
    """A body of at most ``limit`` bytes, kept in memory. Raises `TooLong`."""

    limit: int
    _pieces: list[bytes] = field(factory=list)
    _length: int = 0

    def take(self, data: bytes) -> None:
        """Keep it."""
        self._length += len(data)
        if self._length > self.limit:
            self._pieces.clear()
            raise TooLong(f"a body of more than {self.limit} bytes")
        self._pieces.append(data)

    def end(self) -> None:
        """Any length within the limit is fine."""

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)


@define
class FramesInto:
    """Frames of exactly the chunks asked for, in that order, written into ``into``.

    The headers are written there too, since one copy of each piece as it came is cheaper than
    picking the frames out; ``frames`` says where the sealed bytes lie.
    Raises `BadFrame` and `TooLong`.
    """

    ids: Sequence[ChunkId]
    into: memoryview
    frames: list[Frame] = field(factory=list)
    _length: int = 0
    _next_header: int = 0

    def take(self, data: bytes) -> None:
        """Write it, and look at the headers that are complete."""
        end = self._length + len(data)
        if end > len(self.into):
            raise TooLong(f"frames of more than {len(self.into)} bytes")
        self.into[self._length : end] = data
        self.taken(len(data))

    def room(self, size_bytes: int) -> memoryview:
        """Where the next bytes are to lie, for who writes them there: so many at most."""
        return self.into[self._length : self._length + size_bytes]

    def taken(self, size_bytes: int) -> None:
        """So many bytes lie there now: look at the headers that are complete."""
        self._length += size_bytes
        while self._next_header + FRAME_HEADER_BYTES <= self._length:
            self._read_header()

    @property
    def whole(self) -> int:
        """How many frames are there to their end."""
        return len(self.frames) - (self._length < self._next_header)

    def _read_header(self) -> None:
        number = len(self.frames)
        if number == len(self.ids):
            raise TooLong("more chunks than were asked for")
        chunk_id, length = unpack_header(self.into, self._next_header)
        if chunk_id != self.ids[number]:
            raise BadFrame(f"chunk {number} of the answer is not the one asked for")
        offset = self._next_header + FRAME_HEADER_BYTES
        self.frames.append(Frame(chunk_id, offset, length))
        self._next_header = offset + length

    def end(self) -> None:
        """Nothing may be lacking and nothing may be left over."""
        if self._length != self._next_header or len(self.frames) != len(self.ids):
            raise BadFrame(f"the answer ends after {self._length} bytes, within what was asked for")


class BodyProtocol(Protocol):
    """Feeds a response's body to a receiver; ``done`` fires when that has all of it.

    It fails with what the receiver raises, or with the connection's loss; cancelling it closes
    the connection. Then the receiver, and the memory it writes to, is forgotten already.
    ``received`` is told how many bytes came. ``length``: the body's in bytes, as announced;
    ``None``: it was not.
    """

    def __init__(
        self, receiver: Receiver, received: Callable[[int], None], length: int | None
    ) -> None:
        self._receiver: Receiver | None = receiver
        self._received = received
        self._left = length
        self._wrong: Exception | None = None
        self._shortcut: Shortcut | None = None
        self.done: Deferred[None] = Deferred(lambda _: self._stop())

    def _let_go(self) -> None:
        self._receiver = None
        shortcut, self._shortcut = self._shortcut, None
        if shortcut is not None:
            shortcut.close()

    def connectionMade(self) -> None:  # noqa: N802
        """Take the short way where there is one."""
        if isinstance(self._receiver, FramesInto):
            self._shortcut = Shortcut.into(self, self.transport)

    @property
    def left_bytes(self) -> int | None:
        """See `Body`."""
        return self._left

    def room(self, size_bytes: int) -> memoryview | None:
        """See `Body`."""
        receiver = self._receiver
        return receiver.room(size_bytes) if isinstance(receiver, FramesInto) else None

    def placed(self, size_bytes: int) -> None:
        """See `Body`."""
        if isinstance(self._receiver, FramesInto):
            self._receive(self._receiver.taken, size_bytes, size_bytes)

    def _stop(self) -> None:
        self._let_go()
        if self.transport is not None:
            # IPushProducer: all that twisted.web lets a response's reader do to the connection.
            self.transport.stopProducing()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """The next piece of the body."""
        if self._receiver is not None:
            self._receive(self._receiver.take, data, len(data))

    def _receive(self, take: Callable[[T], None], what: T, size_bytes: int) -> None:
        self._received(size_bytes)
        if self._left is not None:
            self._left -= size_bytes
        try:
            take(what)
        except (BadFrame, TooLong) as error:
            # Told in `connectionLost`, when twisted.web is through with the connection; it keeps
            # it for the next request if this was the whole body, so it must not be closed then.
            self._wrong, self._receiver = error, None
            if self._left != 0:
                self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """The body's end, or the connection's."""
        receiver = self._receiver
        self._let_go()
        if self.done.called:
            return  # Cancelled.
        if self._wrong is not None:
            self.done.errback(self._wrong)
            return
        # PotentialDataLoss: a body that ended with the connection; the receiver knows its length.
        if receiver is None or not isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.done.errback(reason)
            return
        try:
            receiver.end()
        except (BadFrame, TooLong) as error:
            self.done.errback(error)
        else:
            self.done.callback(None)
