"""The clock that jumps: retention's time neither goes back nor follows at once."""

from hypothesis import given
from hypothesis import strategies as st

from obnam_server.upkeep.policy import DAY_NS, HOUR_NS
from obnam_server.upkeep.retention_time import (
    CATCHING_UP,
    JUMP_NS,
    RetentionTime,
    advance,
    not_after,
    not_before,
    shown,
)
from tests.support.candidates import at, days

NOW = at("2026-11-24T12:00")
clocks = st.integers(0, days(60_000))


def test_with_a_good_clock_it_is_the_clock() -> None:
    step = advance(RetentionTime(NOW, NOW), NOW + HOUR_NS, NOW)
    assert step.time == RetentionTime(NOW + HOUR_NS, NOW + HOUR_NS)
    assert step.halted is None


def test_the_first_run_goes_by_the_newest_generation() -> None:
    step = advance(None, NOW + days(3650), NOW)
    assert step.time.time_ns == NOW
    assert step.halted is None


def test_the_first_run_of_an_empty_repository_goes_by_the_clock() -> None:
    assert advance(None, NOW, None).time == RetentionTime(NOW, NOW)


def test_a_clock_before_the_newest_generation_halts() -> None:
    step = advance(RetentionTime(NOW, NOW), NOW + HOUR_NS, NOW + days(1))
    assert step.halted is not None
    assert "received at 2026-11-25 12:00" in step.halted
    assert advance(None, NOW, NOW + 1).halted is not None


def test_a_clock_that_went_back_halts_and_time_waits_for_it() -> None:
    step = advance(RetentionTime(NOW, NOW), NOW - days(1), None)
    assert step.time == RetentionTime(NOW - days(1), NOW)
    assert step.halted is not None
    later = advance(step.time, NOW + HOUR_NS, None)
    assert later.time == RetentionTime(NOW + HOUR_NS, NOW + HOUR_NS)
    assert later.halted is None


def test_a_jump_halts_one_run_and_is_caught_up_slowly() -> None:
    """Ten years ahead: after 30 days of it, retention has gone 37 days and the limit."""
    step = advance(RetentionTime(NOW, NOW), NOW + days(3650), NOW)
    assert step.halted is not None
    assert "3650 days ahead" in step.halted
    time = step.time
    for hour in range(1, 24 * 30 + 1):
        step = advance(time, NOW + days(3650) + hour * HOUR_NS, NOW)
        assert step.halted is None
        time = step.time
    assert time.time_ns == NOW + JUMP_NS + days(30) + days(30) // CATCHING_UP


def test_a_server_that_was_off_for_ten_days_catches_up_within_eight() -> None:
    time = advance(RetentionTime(NOW, NOW), NOW + days(10), NOW).time
    for day in range(1, 9):
        assert time.time_ns < time.seen_ns
        time = advance(time, NOW + days(10 + day), NOW).time
    assert time.time_ns == time.seen_ns


def test_a_disk_that_is_attached_once_a_week_is_on_time() -> None:
    time = RetentionTime(NOW, NOW)
    for week in range(1, 10):
        step = advance(time, NOW + days(7 * week), NOW)
        time = step.time
        assert step.halted is None
        assert time.time_ns == time.seen_ns


@given(clocks, st.lists(clocks, max_size=30))
def test_time_never_goes_back_never_runs_ahead_and_never_leaps(
    first: int, readings: list[int]
) -> None:
    time = RetentionTime(first, first)
    for now_ns in readings:
        step = advance(time, now_ns, None)
        passed = max(0, now_ns - time.seen_ns)
        assert time.time_ns <= step.time.time_ns <= time.time_ns + min(JUMP_NS, passed * 5 // 4)
        assert step.time.time_ns <= now_ns or step.halted is not None
        assert step.halted is not None or passed <= JUMP_NS
        time = step.time


@given(st.lists(clocks))
def test_both_guesses_at_receive_times_never_go_back(received: list[int]) -> None:
    upper, lower = not_before(received), not_after(received)
    assert upper == sorted(upper)
    assert lower == sorted(lower)
    assert all(low <= each <= up for low, each, up in zip(lower, received, upper, strict=True))
    if received == sorted(received):
        assert upper == lower == received


def test_times_are_shown_in_utc() -> None:
    assert shown(NOW + 59 * 10**9) == "2026-11-24 12:00"
    assert shown(10**6 * 365 * DAY_NS) == f"{10**6 * 365 * DAY_NS} ns"
