"""How long one waits for the other end of a request: until nothing is heard, or too little."""

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from obnam.wire.limits import SLOWEST_BYTES_PER_S, SLOWEST_LINK_BYTES_PER_S


@define
class Silence:
    """Cancels what it watches when nothing was heard for ``limit_s`` seconds.

    ``waits_s`` is for how long it waits just now, which is more for what may be under way.

    Or when what is received comes, on average, more slowly than `SLOWEST_BYTES_PER_S`, after twice
    ``limit_s`` of grace: else a server that sends a byte now and then could hold us for ever. What
    is sent goes in so few pieces that silence is limit enough. ``lasted_s``: how long it was
    listened for when that happened. ``received_bytes``: how much came.
    """

    clock: IReactorTime
    limit_s: float
    waits_s: float = 0.0
    expired: bool = False
    too_slow: bool = False
    lasted_s: float = 0.0
    given_up: bool = False
    received_bytes: int = 0
    _began_s: float = 0.0
    _call: IDelayedCall | None = None
    _watched: "Deferred[Any] | None" = None

    def watch(self, deferred: "Deferred[Any]") -> None:
        """From now on cancel ``deferred``, instead of any other, and count from now."""
        self._watched = deferred
        self._began_s, self.received_bytes = self.clock.seconds(), 0
        if self._call is None:
            self._call = self.clock.callLater(self.limit_s, self._expire)
        self.heard()

    def heard(self) -> None:
        """The other end took or sent something."""
        self._wait(self.limit_s)

    def handed_over(self, size_bytes: int) -> None:
        """All was taken, so many bytes, and may be on its way for long."""
        self._wait(self.limit_s + size_bytes / SLOWEST_LINK_BYTES_PER_S)

    def received(self, size_bytes: int) -> None:
        """So much of an answer's body came."""
        self.received_bytes += size_bytes
        in_time_s = 2 * self.limit_s + self.received_bytes / SLOWEST_BYTES_PER_S
        left_s = self._began_s + in_time_s - self.clock.seconds()
        self.too_slow = left_s < self.limit_s
        self._wait(max(0.0, min(self.limit_s, left_s)))

    def give_up(self) -> None:
        """Cancel what is watched, since nobody wants to know any more."""
        self.given_up = True
        if self._watched is not None:
            self._watched.cancel()

    def stop(self) -> None:
        """Watch no longer."""
        call, self._call, self._watched = self._call, None, None
        if call is not None:
            call.cancel()

    def _wait(self, waits_s: float) -> None:
        self.waits_s = waits_s
        if self._call is not None:
            self._call.reset(waits_s)

    def _expire(self) -> None:
        watched, self._call, self._watched = self._watched, None, None
        self.expired = True
        self.lasted_s = self.clock.seconds() - self._began_s
        if watched is not None:
            watched.cancel()
