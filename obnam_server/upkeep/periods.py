"""The periods of the calendar that retention counts: in UTC, weeks by ISO 8601. Pure."""

from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache

from attrs import frozen

from obnam_server.upkeep.policy import DAY_NS, HOUR_NS

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_THURSDAY = 3
"""The epoch was a Thursday: so many days into its week."""


@frozen
class Period:
    """One kind of period. Both take ns since the epoch; a later period has a higher number."""

    number: Callable[[int], int]
    label: Callable[[int], str]


@lru_cache(maxsize=4096)
def _date(day: int) -> date:
    return date.fromordinal(_EPOCH_ORDINAL + day)


def _date_of(time_ns: int) -> date:
    return _date(time_ns // DAY_NS)


def _hour(time_ns: int) -> int:
    return time_ns // HOUR_NS


def _day(time_ns: int) -> int:
    return time_ns // DAY_NS


def _week(time_ns: int) -> int:
    return (time_ns // DAY_NS + _THURSDAY) // 7


def _month(time_ns: int) -> int:
    day = _date_of(time_ns)
    return day.year * 12 + day.month - 1


def _year(time_ns: int) -> int:
    return _date_of(time_ns).year


def _hour_label(time_ns: int) -> str:
    return f"{_date_of(time_ns).isoformat()}T{time_ns // HOUR_NS % 24:02}"


def _week_label(time_ns: int) -> str:
    week = _date_of(time_ns).isocalendar()
    return f"{week.year}-W{week.week:02}"


PERIODS: Mapping[str, Period] = {
    "hourly": Period(_hour, _hour_label),
    "daily": Period(_day, lambda time_ns: _date_of(time_ns).isoformat()),
    "weekly": Period(_week, _week_label),
    "monthly": Period(_month, lambda time_ns: _date_of(time_ns).isoformat()[:7]),
    "yearly": Period(_year, lambda time_ns: f"{_year(time_ns):04}"),
}
"""By the rule of a policy that counts them."""
