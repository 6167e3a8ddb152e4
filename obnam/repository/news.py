"""Which failures the user is told of: one cause is told once, however many requests it ends."""

import math

from attrs import define, field

QUIET_S = 60.0
"""The same is told again after this. A link may break off every other second, for hours."""

CAUSES_MAX = 16
"""Of more different ones, which only an odd server has, the earlier are forgotten."""


@define
class _Told:
    tries: int = 0
    at_s: float = -math.inf


@define
class News:
    """What was told. Times are seconds of any one clock."""

    _told: dict[str, _Told] = field(factory=dict)

    def is_news(self, cause: str, tries: int, now_s: float) -> bool:
        """Whether to tell that a request failed for so many times in a row, and why.

        If so, it counts as told.
        """
        told = self._told.get(cause, _Told())
        if tries <= told.tries and now_s - told.at_s < QUIET_S:
            return False
        if len(self._told) >= CAUSES_MAX:
            self._told.clear()
        self._told[cause] = _Told(tries, now_s)
        return True

    def went_through(self) -> None:
        """A request that had failed did not fail again: what fails twice from now on is news."""
        for told in self._told.values():
            told.tries = min(told.tries, 1)
