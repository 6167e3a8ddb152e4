"""Memory that a client lends to the server that it started: a body in it need not be sent.

Only a server with a line to its client (`obnam.wire.lifeline`) can be lent any.
"""

import re

from attrs import define, frozen

from obnam.wire.limits import MIB
from obnam.wire.members import BadMessage

LENT_HEADER = "Obnam-Lent"
"""Where the body of ``POST /v1/chunks`` lies instead: number of the memory, offset, length."""

MEMORIES_MAX = 32
"""As many may be lent to a server, for as long as it runs. A backup has a handful."""

MEMORY_BYTES_MAX = 64 * MIB
"""No memory that is lent may be larger. A backup's have 24 MiB."""

_HEADER = re.compile(r"([0-9]{1,9}) ([0-9]{1,9}) ([0-9]{1,9})")


@define(eq=False)
class Lent:
    """Where a body lies, for a server that can be lent it.

    ``number`` is the memory's own: it is never used again. ``descriptor``: of the memory, which is
    sealed against shrinking. ``offset``: bytes into it. ``in_doubt``: the server was told to read
    it, and has not said that it has: it may do so at any time, and the memory must not be used for
    anything else, ever.
    """

    number: int
    descriptor: int
    offset: int
    in_doubt: bool = False


@frozen
class LentPart:
    """What the header says. ``offset`` and ``length`` are bytes."""

    number: int
    offset: int
    length: int

    def to_header(self) -> str:
        """As the header's value."""
        return f"{self.number} {self.offset} {self.length}"

    @classmethod
    def from_header(cls, value: str) -> "LentPart":
        """From the header's value. `BadMessage`."""
        found = _HEADER.fullmatch(value)
        if found is None:
            raise BadMessage(f"{LENT_HEADER} must be three numbers")
        return cls(*map(int, found.groups()))
