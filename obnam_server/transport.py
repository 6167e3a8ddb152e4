"""TLS with fewer steps for each byte: Twisted's, told that large bodies are the rule.

Twisted encrypts one record (16 KiB) at a time and gives each to the socket on its own; for bodies
of many MiB these calls cost more than the encryption. Here a whole piece is encrypted before the
socket is asked once. Leans on `TLSMemoryBIOProtocol` of Twisted 24.7 and later.
"""

from typing import Any

from OpenSSL.SSL import Error
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

RECORD_BYTES = 1 << 14
"""The largest TLS record."""

RECORD_OVERHEAD = 64
"""Bytes that a record has beyond what is in it, at most (TLS 1.2 with CBC and SHA-384)."""


class LargeWrites(BufferingTLSTransport):
    """Encrypts what it is given at once, and writes that at once."""

    transport: Any  # a socket's, never None while this is called

    def _write(self, data: bytes) -> None:
        if len(data) <= RECORD_BYTES or not self._handshakeDone or self._appSendBuffer:
            super()._write(data)
            return
        if self._lostTLSConnection:
            return
        try:
            # In memory, and past the handshake: it takes all.
            self._tlsConnection.sendall(data)
        except Error:
            self._tlsShutdownFinished(Failure())
            return
        records = len(data) // RECORD_BYTES + 1
        self.transport.write(self._tlsConnection.bio_read(len(data) + records * RECORD_OVERHEAD))
        self._flushSendBIO()


class TlsFactory(TLSMemoryBIOFactory):
    """TLS in front of ``factory``."""

    protocol = LargeWrites

    def __init__(
        self, options: CertificateOptions, factory: IProtocolFactory, clock: IReactorTime
    ) -> None:
        super().__init__(options, False, factory, clock)
