"""The short ways of bodies: sent from where they lie, and received where they are to lie.

Else each piece is copied two or three times more on its way. Both ends use them, over TLS
(`obnam.transport.bulk_tls`) and through a Unix socket (`obnam.transport.bulk_unix`).
"""

from typing import Protocol


class Place(Protocol):
    """Where the next bytes of a connection are to lie in the end."""

    def room(self) -> memoryview | None:
        """Room for those bytes, which may come as far as it reaches; or do as always."""

    def filled(self, size_bytes: int) -> None:
        """So many bytes lie there now, from its start on."""


class BulkTransport:
    """The transport of a connection that knows the short ways.

    Its ``write`` also takes a ``memoryview``, and nothing but that view refers to the memory once
    it returns: what cannot go at once is copied.
    """

    place: Place | None = None
    """Set while what comes in is a body."""

    def above(self) -> object:
        """The protocol that the connection is for."""
        raise NotImplementedError
