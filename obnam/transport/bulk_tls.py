# mypy: disable-error-code="no-untyped-call"
"""TLS for large bodies: pieces go to the connection, and come from it, many records at a time.

Twisted's own transport hands each record of 16 KiB by itself to the connection below, and each
one that came in by itself up through all of HTTP. At 60,000 records a gigabyte that was a
third of the client's CPU time. What is on the wire is the same. Both ends use it.

Overrides methods of `TLSMemoryBIOProtocol` that have had their names and meaning since
Twisted 11.1; the contract suite over TLS would show it if they ever changed.
"""

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import (
    BufferingTLSTransport,
    TLSMemoryBIOFactory,
    TLSMemoryBIOProtocol,
)
from twisted.python.failure import Failure

from obnam.transport.openssl import RECORD_BYTES, Room, allow_large_writes, given, open_into
from obnam.transport.places import BulkTransport
from obnam.transport.refused import explained
from obnam.transport.sending import send_now

SEALED_AT_ONCE = 512 * 1024
"""Bytes of sealed records handed to the connection below in one call."""

OPENED_AT_ONCE = 256 * 1024
"""Bytes of opened records handed to HTTP in one call."""

_room = Room(max(SEALED_AT_ONCE, OPENED_AT_ONCE))
"""Where records are put together: one for all connections, since there is one reactor thread."""


class BulkTlsTransport(BulkTransport, BufferingTLSTransport):
    """Twisted's TLS transport, in larger steps."""

    def __init__(
        self, factory: TLSMemoryBIOFactory, protocol: IProtocol, connect: bool = True
    ) -> None:
        super().__init__(factory, protocol, connect)
        self.write = self._write_or_gather  # type: ignore[method-assign]  # as it is done above

    def _write_or_gather(self, data: bytes | memoryview) -> None:
        """Small pieces are gathered, as always; others go at once, behind those."""
        if isinstance(data, memoryview):
            self._aggregator.flush()
            TLSMemoryBIOProtocol.write(self, data)
        else:
            self._aggregator.write(data)

    def above(self) -> object:
        """See `BulkTransport`."""
        return self.wrappedProtocol

    def makeConnection(self, transport: ITransport) -> None:  # noqa: N802
        """Have OpenSSL take large pieces, too."""
        super().makeConnection(transport)
        allow_large_writes(self._tlsConnection)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Open what came in, without a copy of it."""
        if not self._handshakeDone:
            super().dataReceived(data)
            return
        with given(self._tlsConnection, data):
            if self._appSendBuffer:
                self._unbufferPendingWrites()
            self._flushReceiveBIO()

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802
        """Say of a certificate that is refused why it is."""
        if reason is not None and isinstance(reason.value, SSL.Error) and not self._handshakeDone:
            why = explained(self._tlsConnection, reason.value)
            if why is not reason.value:
                reason = Failure(why)
        super()._tlsShutdownFinished(reason)

    def _write(self, bytes: bytes | memoryview) -> None:
        """Seal all of it, then send what came of it."""
        if self._lostTLSConnection:
            return
        at, end = 0, len(bytes)
        while at < end:
            # Released at once, not by whoever keeps the traceback: the memory may be another's.
            with memoryview(bytes)[at:] as left:
                try:
                    at += self._tlsConnection.send(left)
                except SSL.WantReadError:
                    self._bufferedWrite(left.tobytes())
                    break
                except SSL.Error:
                    self._tlsShutdownFinished(Failure())
                    return
        self._flushSendBIO()

    def _flushSendBIO(self) -> None:  # noqa: N802
        """Send all sealed records there are."""
        while size := _room.take_sealed(self._tlsConnection):
            below = self.transport
            if below is not None:
                sent = send_now(below, _room.lying(0, size))
                if sent < size:
                    below.write(bytes(_room.lying(sent, size)))

    def _flushReceiveBIO(self) -> None:  # noqa: N802
        """Open all whole records there are, and deliver them in order, before any bad news."""
        size = 0
        while not self._lostTLSConnection:
            try:
                place = None if size else self.place
                memory = place.room() if place else None
                if place and memory:
                    open_into(self._tlsConnection, memory, place.filled)
                    continue
                size += _room.open_record(self._tlsConnection, size)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                size = self._deliver(size)
                self._shutdownTLS()
                self._tlsShutdownFinished(None)
            except SSL.Error:
                failure = Failure()
                size = self._deliver(size)
                self._tlsShutdownFinished(failure)
            else:
                if size + RECORD_BYTES > OPENED_AT_ONCE:
                    size = self._deliver(size)
        self._deliver(size)
        self._flushSendBIO()

    def _deliver(self, size: int) -> int:
        """Hand over the first ``size`` bytes of the room, and answer how many are left: none."""
        if size and not self._aborted:
            ProtocolWrapper.dataReceived(self, _room.first(size))
        return 0


class BulkTlsFactory(TLSMemoryBIOFactory):
    """TLS in front of another factory's protocols, at either end."""

    protocol = BulkTlsTransport
