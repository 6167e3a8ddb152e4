# mypy: disable-error-code="no-untyped-call"
"""TLS for large bodies: pieces go to the connection, and come from it, many records at a time.

Twisted's own transport hands each record of 16 KiB by itself to the connection below, and each
one that came in by itself up through all of HTTP. At 60,000 records a gigabyte that was a
third of the client's CPU time. What is on the wire is the same. Both ends use it.

Overrides three methods of `TLSMemoryBIOProtocol` that have had their names and meaning since
Twisted 11.1; the contract suite over TLS would show it if they ever changed.
"""

from OpenSSL import SSL
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

SEALED_AT_ONCE = 512 * 1024
"""Bytes of sealed records handed to the connection below in one call."""

OPENED_AT_ONCE = 256 * 1024
"""Bytes of opened records handed to HTTP in one call."""

_RECORD = 16 * 1024
"""The largest plaintext of a TLS record."""


class BulkTlsTransport(BufferingTLSTransport):
    """Twisted's TLS transport, in larger steps."""

    def _write(self, bytes: bytes) -> None:
        """Seal all of it, then send what came of it."""
        if self._lostTLSConnection:
            return
        left = memoryview(bytes)
        while left:
            try:
                sent = self._tlsConnection.send(left)
            except SSL.WantReadError:
                self._bufferedWrite(left.tobytes())
                break
            except SSL.Error:
                self._tlsShutdownFinished(Failure())
                return
            left = left[sent:]
        self._flushSendBIO()

    def _flushSendBIO(self) -> None:  # noqa: N802
        """Send all sealed records there are."""
        sealed = b" " * SEALED_AT_ONCE
        while len(sealed) == SEALED_AT_ONCE:
            try:
                sealed = self._tlsConnection.bio_read(SEALED_AT_ONCE)
            except SSL.WantReadError:
                return
            if self.transport is not None:
                self.transport.write(sealed)

    def _flushReceiveBIO(self) -> None:  # noqa: N802
        """Open all whole records there are, and deliver them in order, before any bad news."""
        opened: list[bytes] = []
        while not self._lostTLSConnection:
            try:
                opened.append(self._tlsConnection.recv(_RECORD))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self._deliver(opened)
                self._shutdownTLS()
                self._tlsShutdownFinished(None)
            except SSL.Error:
                failure = Failure()
                self._deliver(opened)
                self._tlsShutdownFinished(failure)
            else:
                if len(opened) * _RECORD >= OPENED_AT_ONCE:
                    self._deliver(opened)
        self._deliver(opened)
        self._flushSendBIO()

    def _deliver(self, opened: list[bytes]) -> None:
        """Hand over ``opened`` and empty it."""
        data = b"".join(opened)
        opened.clear()
        if data and not self._aborted:
            ProtocolWrapper.dataReceived(self, data)


class BulkTlsFactory(TLSMemoryBIOFactory):
    """TLS in front of another factory's protocols, at either end."""

    protocol = BulkTlsTransport
