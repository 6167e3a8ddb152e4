"""Connections: what `HTTPChannel` lacks for large bodies, and against peers that mean harm.

Leans on `HTTPChannel` of Twisted 24.7 and later: its ``_command``, ``_path``, ``length``,
``_handlingRequest``, ``_savedTimeOut`` and ``_transferDecoder`` have been the same for a decade.
"""

from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import IResource

from obnam.transport.places import BulkTransport
from obnam.transport.sockets import keep_little_unsent
from obnam.wire.limits import (
    MIB,
    REQUEST_HEADER_MAX,
    SILENCE_S,
    SLOWEST_BYTES_PER_S,
    SLOWEST_LINK_BYTES_PER_S,
)
from obnam.wire.problems import CONTENT_TYPE
from obnam_server.drained_site import DrainedSite
from obnam_server.sharing.crowd import Crowd
from obnam_server.sharing.sources import source_of
from obnam_server.uploads import UploadBody, UploadPlace

log = Logger()

HEAD_BYTES = 64 * 1024
"""Bytes asked of the kernel at once until a large request may go: what is read before that waits in
memory."""

SOCKET_BYTES = MIB
"""Bytes of a large body that are asked of the kernel, or given to it, at once; less when there are
many. Twisted's own 64 and 128 KiB halve the speed over TLS."""

SOCKETS_MEMORY = 64 * MIB
"""That of all uploads, or of all answers, together."""

LEAST_SOCKET_BYTES = 64 * 1024

SENT_AT_ONCE_BYTES = 2 * SOCKET_BYTES
"""What waits to be sent is a piece more than `SOCKET_BYTES`, and a rest is copied."""

LENGTH_DIGITS_MAX = 19
"""A ``Content-Length`` has no more: Python makes no number of thousands of digits, and Twisted
takes what it raises for a mistake of ours, with a page of log."""

CLOSING_S = 60.0
"""How long a peer may take to receive the last answer on a connection that is closing."""

REFUSED_CLOSING_S = 5.0
"""The same, when it is still sending a body that was refused."""


class ApiChannel(HTTPChannel):
    """One connection. Adds to Twisted's: deadlines, larger reads, leaving a body unread."""

    totalHeadersSize = REQUEST_HEADER_MAX
    site: "Channels"
    transport: Any  # TCP, Unix or TLS, each with more than ITransport says
    _deadline: IDelayedCall | None = None
    _reading_headers = False
    _discarding = False
    _body_paused = False
    _upload_received = 0
    upload: UploadBody[Any] | None = None
    source: str | None = None
    """Where it comes from, for limits that go by address."""

    @property
    def busy(self) -> bool:
        """Whether something is done for it."""
        return bool(self.requests)

    def connectionMade(self) -> None:
        """Count it, and let it send in large pieces."""
        super().connectionMade()
        self.site.channels.add(self)
        below = getattr(self.transport, "transport", self.transport)
        if isinstance(below, Connection):
            below.bufferSize = HEAD_BYTES
            below.SEND_LIMIT = SENT_AT_ONCE_BYTES
            keep_little_unsent(below.socket)
        self.introduce(source_of(self.transport.getPeer()))

    def introduce(self, source: str | None) -> None:
        """It is known where it comes from."""
        self.source = source
        for channel in self.site.crowd.came(self, source):
            cast(ApiChannel, channel).forceAbortClient()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone, and with it what its requests held."""
        self._set_deadline(None)
        super().connectionLost(reason)
        self.site.channel_lost(self)

    # Deadlines: neither headers nor bodies can be drawn out for ever, a byte at a time.

    def dataReceived(self, data: bytes) -> None:
        """Bytes of requests."""
        upload = self.upload
        if upload is not None:
            # Most of all bytes: straight to the upload, past the parser of lines and its timers.
            decoder = self._transferDecoder
            if decoder is not None and len(data) < decoder.contentLength:
                decoder.contentLength -= len(data)
                upload.feed(data)
                return
        if self._deadline is None and not self._handlingRequest:
            self._set_deadline(SILENCE_S)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """A request is whole."""
        self._set_deadline(None)
        super().allContentReceived()

    def timeoutConnection(self) -> None:
        """Nothing came for `SILENCE_S`; unless it was us who asked it to wait.

        Pieces of an upload do not wind up the clock (there are 64 in a MiB), they are counted.
        """
        received = self.upload.size_bytes if self.upload is not None else 0
        if self._body_paused or received != self._upload_received:
            self._upload_received = received
            self.setTimeout(self.timeOut)
        else:
            super().timeoutConnection()

    def _set_deadline(self, delay_s: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if delay_s is not None:
            self._deadline = self.callLater(delay_s, self._too_slow)

    def _too_slow(self) -> None:
        log.info("Too slow: {peer}", peer=self.transport.getPeer())
        self.forceAbortClient()

    def loseConnection(self) -> None:
        """Close when all is sent, or when the peer takes too long to receive it."""
        super().loseConnection()
        if self._abortingCall is None:
            delay_s = REFUSED_CLOSING_S if self._discarding else CLOSING_S
            self._abortingCall = self.callLater(delay_s, self.forceAbortClient)

    # Bodies

    def begin_upload(self, upload: UploadBody[Any]) -> None:
        """From now on the body goes there, by the short way if the connection knows it."""
        self.upload = upload
        if isinstance(self.transport, BulkTransport):
            self.transport.place = UploadPlace(upload, self._transferDecoder)

    def end_upload(self) -> None:
        """It is whole, or the rest of it is not wanted."""
        self.upload = None
        if isinstance(self.transport, BulkTransport):
            self.transport.place = None

    def allHeadersReceived(self) -> None:
        """The request decides now what becomes of its body."""
        self._reading_headers = True
        super().allHeadersReceived()
        self._reading_headers = False
        if self._discarding:
            self.length = 0  # what HTTPChannel does next: no body, so answer
        else:
            self._set_deadline(SILENCE_S + (self.length or 0) / SLOWEST_BYTES_PER_S)

    def leave_body(self) -> None:
        """The rest of the body is not wanted: answer now, then close."""
        self._discarding = True
        self.persistent = False
        self.resume_body()
        if not self._reading_headers:
            self.allContentReceived()

    def lineReceived(self, line: bytes) -> None:
        """A line of a request's head."""
        if not self._discarding:
            super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        """A header; false: it is none, and the connection is closing."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > LENGTH_DIGITS_MAX:
            self._respondToBadRequestAndDisconnect()
            return False
        return bool(super().headerReceived(line))

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body."""
        if not self._discarding:
            super().rawDataReceived(data)

    def pause_body(self) -> None:
        """Ask the peer, by TCP, to wait."""
        self._body_paused = True
        self._networkProducer.pauseProducing()

    def resume_body(self) -> None:
        """Go on receiving."""
        if self._body_paused:
            self._body_paused = False
            self.resetTimeout()
            self._networkProducer.resumeProducing()

    def set_buffer(self, size_bytes: int) -> None:
        """How much is asked of the kernel in one call, and given to it."""
        below = getattr(self.transport, "transport", self.transport)
        if isinstance(below, Connection):
            below.bufferSize = size_bytes

    def requestDone(self, request: Any) -> None:
        """The answer is written."""
        self.set_buffer(HEAD_BYTES)
        self._body_paused = False
        if self._savedTimeOut:
            # The client may be receiving for long what the kernel, or a tunnel, has taken.
            under_way_s = request.sentLength // SLOWEST_LINK_BYTES_PER_S
            self._savedTimeOut = self.site.timeOut + under_way_s
        if self.site.draining:
            self.persistent = False
        super().requestDone(request)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A header that is longer than all together may be. Twisted's own never closes over TLS."""
        if not self._discarding:
            self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What is no HTTP at all also gets a problem document."""
        body = b'{"type": "urn:obnam:problem:bad-request", "status": 400, "title": "Not HTTP"}'
        head = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: %s\r\n"
        head = head % CONTENT_TYPE.encode("ascii")
        self.transport.write(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._discarding = True
        self.loseConnection()


class Channels(DrainedSite):
    """All connections of clients to some listening ports."""

    protocol = ApiChannel  # type: ignore[assignment]  # Twisted's own is a function
    channels: set[ApiChannel]

    def __init__(
        self,
        resource: IResource,
        request_factory: type[Request],
        crowd: Crowd,
        reactor: IReactorTime,
        timeout_s: float | None = SILENCE_S,
    ) -> None:
        super().__init__(resource, request_factory, reactor, timeout_s)
        self.crowd = crowd

    def is_busy(self, channel: HTTPChannel) -> bool:
        """See `ApiChannel.busy`."""
        return cast(ApiChannel, channel).busy

    def channel_lost(self, channel: HTTPChannel) -> None:
        """A connection is gone."""
        self.crowd.left(channel)
        super().channel_lost(channel)
