# mypy: disable-error-code="no-untyped-call"
"""Moving records in and out of OpenSSL without a new buffer, and two copies, for each of them.

`SSL.Connection.recv` makes room for 16 KiB, has OpenSSL write there, and copies it: 0.46 s of CPU
time for a gigabyte, and 0.30 s when OpenSSL writes into one buffer that is there already. pyOpenSSL
has no public way to say so. `DirectRoom`, `given` and `open_into` use its private names, which are
as old as its use of cffi (2014); for the day when those have changed, the same is done with the
public ones.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    _used = (
        *("SSL_read", "SSL_clear_mode", "SSL_set_bio", "BIO_read", "BIO_new"),
        *("BIO_s_mem", "BIO_new_mem_buf", "BIO_get_mem_data", "BIO_set_mem_eof_return"),
    )
    _known = all(hasattr(_lib, name) for name in _used)
    _known = _known and hasattr(SSL.Connection, "_raise_ssl_error")


def allow_large_writes(connection: SSL.Connection) -> None:
    """Have `SSL.Connection.send` take all it is given, however many records that makes.

    Without the private names nothing changes, and it takes one record a call.
    """
    if _known:
        _lib.SSL_clear_mode(connection._ssl, _PARTIAL_WRITE)


@contextmanager
def given(connection: SSL.Connection, data: bytes) -> Iterator[None]:
    """Have ``connection`` open what came in from where it lies, during the context.

    `SSL.Connection.bio_write` clears memory and copies it there. What is left at the end is
    kept by the connection all the same. Only after the handshake.
    """
    if not _known or _lib.BIO_get_mem_data(connection._into_ssl, _ffi.NULL):
        connection.bio_write(data)
        yield
        return
    with _ffi.from_buffer(data) as start:
        own = _checked(_lib.BIO_new(_lib.BIO_s_mem()))
        _read_from(connection, _checked(_lib.BIO_new_mem_buf(start, len(data))))
        try:
            yield
        finally:
            left = _lib.BIO_get_mem_data(connection._into_ssl, _ffi.NULL)
            _read_from(connection, own)
            if left:
                connection.bio_write(data[-left:])


def _checked(source: Any) -> Any:
    """A new BIO that says "later" when it is empty, and not "that was all"."""
    if source == _ffi.NULL:
        raise MemoryError
    _lib.BIO_set_mem_eof_return(source, -1)
    return source


def _read_from(connection: SSL.Connection, source: Any) -> None:
    """Have ``source`` in place of the BIO that a connection reads from, which is freed."""
    _lib.SSL_set_bio(connection._ssl, source, connection._from_ssl)
    connection._into_ssl = source


def open_into(
    connection: SSL.Connection, memory: memoryview, filled: Callable[[int], None]
) -> None:
    """Open records into ``memory``, one behind the other, until it is full.

    Raises the errors of `SSL.Connection.recv` before that, as a rule ``WantReadError``. In any
    case ``filled`` is called with the number of bytes that lie there, if there are any.
    """
    size, end = 0, len(memory)
    try:
        if not _known:
            while size < end:
                size += connection.recv_into(memory[size : size + RECORD_BYTES])
            return
        # Released at once, not by whoever keeps the traceback: what still refers to a memoryview
        # that is collected with a circle of garbage crashes CPython (3.11).
        with _ffi.from_buffer("char[]", memory, require_writable=True) as start:
            while size < end:
                left = min(RECORD_BYTES, end - size)
                length: int = _lib.SSL_read(connection._ssl, start + size, left)
                if length <= 0:
                    connection._raise_ssl_error(connection._ssl, length)
                size += length
    finally:
        if size:
            filled(size)


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
