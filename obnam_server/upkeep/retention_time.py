"""The time that retention goes by: the server's clock, as far as it can be believed. Pure.

Ages decide what goes, so a clock that jumps could empty a repository. Therefore retention has a
time of its own, which never goes back, is never ahead of the clock, and follows a jump slowly.
All times are ns since the epoch. The reasons: ``docs/decisions/0004-retention-keeps-firsts.md``.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from attrs import frozen

from obnam_server.upkeep.policy import DAY_NS

JUMP_NS = 8 * DAY_NS
"""Between two runs no more time than this is believed to have passed: a disk that is attached
once a week is no jump."""

CATCHING_UP = 4
"""While retention's time is behind, it gains one part in so many: to be late only costs room."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class RetentionTime:
    """``seen_ns``: the clock at the last run; ``time_ns``: the time that retention went by."""

    seen_ns: int
    time_ns: int


@frozen
class Advance:
    """``time`` is to be stored; ``halted``: why this run deletes nothing, ``None``: it may."""

    time: RetentionTime
    halted: str | None


def advance(last: RetentionTime | None, now_ns: int, newest_ns: int | None) -> Advance:
    """The time of a run. ``last``: of the run before, ``None`` for the first one.

    ``newest_ns``: the highest receive time in the repository. The first run has only that to go
    by: until then the clock was surely running.
    """
    if last is None:
        start_ns = now_ns if newest_ns is None else min(now_ns, newest_ns)
        time = RetentionTime(now_ns, start_ns)
        return Advance(time, _behind(now_ns, start_ns, newest_ns))
    passed_ns = max(0, now_ns - last.seen_ns)
    ahead_ns = min(passed_ns + passed_ns // CATCHING_UP, JUMP_NS)
    time_ns = max(last.time_ns, min(now_ns, last.time_ns + ahead_ns))
    halted = _behind(now_ns, time_ns, newest_ns)
    if halted is None and passed_ns > JUMP_NS:
        halted = (
            f"the server's clock is {passed_ns // DAY_NS} days ahead of the last run; if it is "
            f"right, there is nothing to do: later runs delete, by a time that catches up slowly"
        )
    return Advance(RetentionTime(now_ns, time_ns), halted)


def _behind(now_ns: int, time_ns: int, newest_ns: int | None) -> str | None:
    if newest_ns is not None and now_ns < newest_ns:
        return (
            f"the server's clock says {shown(now_ns)}, and a generation was received at "
            f"{shown(newest_ns)}; set the clock right, or delete what was received in the future"
        )
    if now_ns < time_ns:
        return (
            f"the server's clock says {shown(now_ns)}, and retention was at {shown(time_ns)} "
            f"already; set the clock right, or wait until then"
        )
    return None


def not_before(received_ns: Sequence[int]) -> list[int]:
    """Receive times in order of sequence -> running maximum: right where the clock went back."""
    times: list[int] = []
    highest = 0
    for each in received_ns:
        highest = max(highest, each)
        times.append(highest)
    return times


def not_after(received_ns: Sequence[int]) -> list[int]:
    """The minimum of all from here on: right where the clock was ahead and was set back."""
    times: list[int] = []
    lowest: int | None = None
    for each in reversed(received_ns):
        lowest = each if lowest is None else min(lowest, each)
        times.append(lowest)
    return times[::-1]


def shown(time_ns: int) -> str:
    """A time for people, to the minute, UTC; one beyond the calendar as its ns."""
    try:
        return f"{_EPOCH + timedelta(seconds=time_ns // 1_000_000_000):%Y-%m-%d %H:%M}"
    except OverflowError:
        return f"{time_ns} ns"
