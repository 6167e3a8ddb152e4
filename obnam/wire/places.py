"""The short way of a body: what comes in is put where it is to lie in the end, not copied there.

A connection that knows this way has a ``place`` as long as a body comes in. Both ends use it.
"""

from typing import Protocol


class Place(Protocol):
    """Where the next bytes of a connection are to lie in the end."""

    def room(self) -> memoryview | None:
        """Room for those bytes, which may come as far as it reaches; or do as always."""

    def filled(self, size_bytes: int) -> None:
        """So many bytes lie there now, from its start on."""


class Placing:
    """A connection's transport that puts what comes in into a `Place`."""

    place: Place | None = None
    """Set while there is one."""
