"""How much goes in one request over a link that drops its connections. Decides, and does nothing.

An upload has 8 MiB or more, and of one that is broken off nothing is stored. Over some links (a
phone's, a router that forgets) no connection lives that long. So what breaks off is sent in
portions, each half as large as the one before, and not side by side, until it goes through.
"""

from attrs import define

from obnam.errors import ServerUnreachable
from obnam.wire.limits import MIB, UPLOAD_BODY_MAX

UNDER_WAY_BYTES = MIB // 4
"""A request of which less was under way was not broken off for its size. A transport takes so much
before it has a connection."""

LEAST_BYTES = MIB // 4
"""Portions do not become smaller: this is about one chunk."""

FORGIVEN = 1
"""So often in a row a request may break off before it is taken to be too large: a server is
restarted, and a connection that has carried others before it may have been due."""

PROOF = 4
"""When so many portions' bytes went through, and nothing broke off, they are made twice as large. A
link that lets a connection carry some MiB never lets so much through: its portions stay as they
are."""


def is_broken_off(error: ServerUnreachable) -> bool:
    """Whether a connection was there, and was lost in the midst of a request of some size."""
    return error.carried_bytes > UNDER_WAY_BYTES


@define
class Portion:
    """The largest portion, in bytes; all requests to one server go by it."""

    limit_bytes: int = UPLOAD_BODY_MAX
    _through_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether there are no portions: bodies go as they are, and side by side."""
        return self.limit_bytes >= UPLOAD_BODY_MAX

    def broke_off(self, size_bytes: int, times: int) -> None:
        """A request with so much in it broke off, for the 1st, 2nd, … time in a row."""
        self._through_bytes = 0
        if times > FORGIVEN:
            half = max(LEAST_BYTES, size_bytes // 2)
            self.limit_bytes = min(self.limit_bytes, half)

    def went_through(self, size_bytes: int) -> None:
        """A request with so much in it did not break off."""
        if self.is_whole:
            return
        self._through_bytes += size_bytes
        if self._through_bytes >= PROOF * self.limit_bytes:
            self.limit_bytes *= 2
            self._through_bytes = 0
