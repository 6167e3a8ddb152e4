"""The calendar: in UTC, weeks by ISO 8601, whatever the year."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam_server.upkeep.periods import PERIODS
from tests.support.candidates import at

instants = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("rule", "time", "label"),
    [
        ("hourly", "2026-11-24T13:59", "2026-11-24T13"),
        ("daily", "2026-11-24T23:59", "2026-11-24"),
        ("weekly", "2026-11-22T23:59", "2026-W47"),
        ("weekly", "2026-11-23T00:00", "2026-W48"),
        ("weekly", "2027-01-03T23:59", "2026-W53"),
        ("weekly", "2024-12-30T00:00", "2025-W01"),
        ("monthly", "2024-02-29T12:00", "2024-02"),
        ("yearly", "1970-01-01T00:00", "1970"),
    ],
)
def test_labels(rule: str, time: str, label: str) -> None:
    assert PERIODS[rule].label(at(time)) == label


@given(st.sampled_from(sorted(PERIODS)), instants, instants)
def test_numbers_follow_time_and_labels_follow_numbers(rule: str, one: int, two: int) -> None:
    period = PERIODS[rule]
    one, two = sorted((one, two))
    assert period.number(one) <= period.number(two)
    same = period.number(one) == period.number(two)
    assert same == (period.label(one) == period.label(two))


@given(instants)
def test_as_the_calendar_of_python_has_it(time_ns: int) -> None:
    date = datetime.fromtimestamp(time_ns // 10**9, UTC)
    assert PERIODS["hourly"].label(time_ns) == f"{date:%Y-%m-%dT%H}"
    assert PERIODS["weekly"].label(time_ns) == f"{date:%G-W%V}"
