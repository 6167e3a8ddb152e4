"""The short way of a body: it is put where it is to lie, and the HTTP parser is told so.

Else each piece is copied twice more, and goes up through ten methods.

Leans on names of `twisted.web` that are not public, and have been the same for a decade: a
response's ``_producer``, the connection's ``_parser``, its ``bodyDecoder`` and the
``contentLength`` of that. Where one is missing, or not what it was, bodies take the long way.
"""

from typing import Any, Protocol, Self

from attrs import define

from obnam.transport.places import BulkTransport


class Body(Protocol):
    """A body on its way in."""

    @property
    def left_bytes(self) -> int | None:
        """How much has not come yet; ``None``: not known."""

    def room(self, size_bytes: int) -> memoryview | None:
        """Where the next bytes are to lie: so many at most."""

    def placed(self, size_bytes: int) -> None:
        """So many bytes lie there now."""


@define(eq=False)
class Shortcut:
    """From one connection to one body: a `Place`."""

    _transport: BulkTransport
    _decoder: Any
    _body: Body

    @classmethod
    def into(cls, body: Body, producer: object) -> Self | None:
        """Begin, with what twisted.web gives a body's reader for a transport; ``None``: no way."""
        transport = getattr(producer, "_producer", None)
        if not isinstance(transport, BulkTransport):
            return None
        parser = getattr(transport.above(), "_parser", None)
        decoder = getattr(parser, "bodyDecoder", None)
        if not isinstance(getattr(decoder, "contentLength", None), int):
            return None
        transport.place = shortcut = cls(transport, decoder, body)
        return shortcut

    def room(self) -> memoryview | None:
        """See `Place`. The last byte is left to the parser, which ends the body with it."""
        left_bytes: int = self._decoder.contentLength
        if left_bytes != self._body.left_bytes or left_bytes <= 1:
            return None
        return self._body.room(left_bytes - 1)

    def filled(self, size_bytes: int) -> None:
        """See `Place`."""
        self._decoder.contentLength -= size_bytes
        self._body.placed(size_bytes)

    def close(self) -> None:
        """From now on all goes the long way again."""
        if self._transport.place is self:
            self._transport.place = None
