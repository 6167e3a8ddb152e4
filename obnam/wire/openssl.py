# mypy: disable-error-code="no-untyped-call"
"""Moving records in and out of OpenSSL without a new buffer, and two copies, for each of them.

`SSL.Connection.recv` makes room for 16 KiB, has OpenSSL write there, and copies it: 0.46 s of CPU
time for a gigabyte, and 0.30 s when OpenSSL writes into one buffer that is there already. pyOpenSSL
has no public way to say so. `DirectRoom` uses its private names, which are as old as its use of
cffi (2014); `PublicRoom` does the same with the public ones, for the day when those have changed.
"""

from typing import Any

from OpenSSL import SSL

RECORD_BYTES = 16 * 1024
"""The largest plaintext of a TLS record (RFC 8446, section 5.1)."""

_PARTIAL_WRITE = 0x1
"""``SSL_MODE_ENABLE_PARTIAL_WRITE``, which pyOpenSSL sets and does not name: a record a call."""


try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib
except ImportError:
    _known = False
else:
    _used = ("SSL_read", "BIO_read", "SSL_clear_mode")
    _known = all(hasattr(_lib, name) for name in _used)
    _known = _known and hasattr(SSL.Connection, "_raise_ssl_error")


def allow_large_writes(connection: SSL.Connection) -> None:
    """Have `SSL.Connection.send` take all it is given, however many records that makes.

    Without the private names nothing changes, and it takes one record a call.
    """
    if _known:
        _lib.SSL_clear_mode(connection._ssl, _PARTIAL_WRITE)


class PublicRoom:
    """A buffer of ``size_bytes`` for what comes out of OpenSSL."""

    def __init__(self, size_bytes: int) -> None:
        self._bytes = bytearray(size_bytes)
        self._view = memoryview(self._bytes)

    def open_record(self, connection: SSL.Connection, at: int) -> int:
        """Open the next record, to lie ``at`` here; its length in bytes.

        At least `RECORD_BYTES` must be left there. Raises the errors of `SSL.Connection.recv`.
        """
        return connection.recv_into(self._view[at : at + RECORD_BYTES])

    def take_sealed(self, connection: SSL.Connection) -> int:
        """Take what is to be sent, from the start of the room on; its length, 0 for nothing."""
        try:
            sealed = connection.bio_read(len(self._bytes))
        except SSL.WantReadError:
            return 0
        self._view[: len(sealed)] = sealed
        return len(sealed)

    def first(self, size_bytes: int) -> bytes:
        """A copy of what lies at the start."""
        return bytes(self._view[:size_bytes])

    def lying(self, start: int, stop: int) -> memoryview:
        """What lies between two places, for who is done with it before the room is used again."""
        return self._view[start:stop]


class DirectRoom(PublicRoom):
    """The same, where OpenSSL writes by itself."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._start: Any = _ffi.from_buffer("char[]", self._bytes, require_writable=True)

    def open_record(self, connection: SSL.Connection, at: int) -> int:
        """See `PublicRoom`."""
        if at + RECORD_BYTES > len(self._bytes):
            raise ValueError("there is no room for a record")
        length: int = _lib.SSL_read(connection._ssl, self._start + at, RECORD_BYTES)
        if length <= 0:
            connection._raise_ssl_error(connection._ssl, length)
        return length

    def take_sealed(self, connection: SSL.Connection) -> int:
        """See `PublicRoom`."""
        # Below 0: nothing there now. A memory BIO has no other failure.
        length: int = _lib.BIO_read(connection._from_ssl, self._start, len(self._bytes))
        return max(0, length)


Room = DirectRoom if _known else PublicRoom
