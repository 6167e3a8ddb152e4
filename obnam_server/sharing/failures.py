"""Who failed to authenticate how often lately, and has to wait. Decides; does nothing.

Each address has a token bucket: so many failures at once, then one in so many seconds. It bounds
what guessing, or a computer with a token of yesterday, costs the server in look-ups and log lines.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from attrs import define, field, frozen

FAILURES_AT_ONCE = 10
"""Failures of one address before it has to wait."""

SECONDS_PER_FAILURE = 10.0
"""After this long one failure is forgotten."""

DEBT_MAX = 2 * FAILURES_AT_ONCE
"""More failures than these are not counted: requests that were under way when the last one of
`FAILURES_AT_ONCE` failed. So nobody waits for more than 110 s."""

SOURCES_MAX = 10_000
"""Addresses that are remembered, the longest unheard ones are forgotten: some 2 MB."""

KNOWN_MAX = 10_000
"""Tokens that are remembered as good, by their hash: some 2 MB."""


@frozen
class _Count:
    failures: float
    at_s: float


@define(eq=False)
class Failures:
    """The failures of all addresses. ``seconds``: a clock that never goes back (s)."""

    _seconds: Callable[[], float]
    _counts: OrderedDict[str, _Count] = field(init=False, factory=OrderedDict)

    def wait_s(self, source: str | None) -> float:
        """How long the address has to wait (s) before anything of it is looked at; 0: not at all.

        ``None``: an address without limits.
        """
        if source is None:
            return 0.0
        return max(0.0, (self._failures(source) - FAILURES_AT_ONCE + 1) * SECONDS_PER_FAILURE)

    def failed(self, source: str | None) -> None:
        """One more."""
        if source is None:
            return
        failures = min(DEBT_MAX, self._failures(source) + 1)
        self._counts[source] = _Count(failures, self._seconds())
        self._counts.move_to_end(source)
        if len(self._counts) > SOURCES_MAX:
            self._counts.popitem(last=False)

    def _failures(self, source: str) -> float:
        """Those that are not forgotten yet."""
        count = self._counts.get(source)
        if count is None:
            return 0.0
        passed_s = self._seconds() - count.at_s
        return max(0.0, count.failures - passed_s / SECONDS_PER_FAILURE)

    def __len__(self) -> int:
        return len(self._counts)


@define(eq=False)
class KnownTokens:
    """Tokens that were good when they were last looked up.

    They need not wait for the failures of others: behind one address there may be a whole office,
    and one of its computers must not be able to lock the others out.
    """

    _known: OrderedDict[bytes, None] = field(init=False, factory=OrderedDict, repr=False)

    def was_good(self, token: str) -> None:
        """Remember it."""
        digest = _digest(token)
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def was_wrong(self, token: str) -> None:
        """It is not, or no longer, good."""
        self._known.pop(_digest(token), None)

    def __contains__(self, token: str) -> bool:
        return _digest(token) in self._known

    def __len__(self) -> int:
        return len(self._known)


def _digest(token: str) -> bytes:
    return sha256(token.encode("ascii")).digest()
