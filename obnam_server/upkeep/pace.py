"""How fast upkeep works: so many bytes a second, and less while clients want the disks."""

from collections.abc import Callable

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

BUSY_FACTOR = 10.0
"""How many times slower upkeep is while requests are under way: it never stops altogether, or a
server that is always busy would fill up."""

STEP_S = 0.25
"""How long the longest single pause is; after each it is looked at anew whether clients wait."""


@define
class Pace:
    """Spreads work over time. ``is_busy``: whether requests are under way just now."""

    _clock: IReactorTime
    _bytes_per_s: float
    _is_busy: Callable[[], bool]

    async def spend(self, size_bytes: int) -> None:
        """Wait as long as ``size_bytes``, which were just read or written, may take."""
        left_s = size_bytes / self._bytes_per_s
        while left_s > 0:
            factor = BUSY_FACTOR if self._is_busy() else 1.0
            pause_s = min(STEP_S, left_s * factor)
            pause: Deferred[None] = deferLater(self._clock, pause_s)
            await pause
            left_s -= pause_s / factor
