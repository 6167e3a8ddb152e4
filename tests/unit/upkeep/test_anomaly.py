"""Which generations are unlike their client's others, and which only look so."""

from collections.abc import Sequence

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from obnam_server.store.seams.values import Counted, Past
from obnam_server.upkeep.anomaly import (
    ADDED_MIN_BYTES,
    BACKUPS_COMPARED,
    BACKUPS_MIN,
    FLOOD_MIN,
    FLOOD_NS,
    judge,
)

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
START_NS = 1_800_000_000 * 10**9
CHUNK = 512 * 1024


def past(
    number: float, added: int, removed: int, count: int = 1000, *, partial: bool = False
) -> Past:
    """A generation on day ``number``."""
    counted = Counted(added, added * CHUNK, removed, 0)
    return Past(START_NS + round(number * DAY_NS), partial, count, counted)


def daily(days: int, added: int = 10, removed: int = 10) -> list[Past]:
    """The first generation, and then one a day that changes little."""
    return [past(0, 1000, 0), *[past(day, added, removed) for day in range(1, days)]]


def test_usual_backups() -> None:
    history = daily(60)
    for number, each in enumerate(history):
        assert judge(history[:number], each) is None


def test_one_that_replaces_nearly_everything() -> None:
    reason = judge(daily(20), past(20, 900, 900))
    assert reason == "it replaces 90% of the chunks there were; at most 1.0% were usual"


def test_one_that_replaces_less_than_half() -> None:
    assert judge(daily(20), past(20, 500, 500)) is None
    assert judge(daily(20), past(20, 501, 501)) is not None


def test_a_client_that_often_replaces_much() -> None:
    """A false alarm each week would be no alarm at all."""
    history = [*daily(20), past(20, 200, 200), *[past(day, 10, 10) for day in range(21, 25)]]
    assert judge(history, past(25, 790, 790)) is None
    assert judge(history, past(25, 801, 801)) is not None


def test_what_was_usual_long_ago_is_not_any_more() -> None:
    much = past(1, 900, 900)
    since = [past(day, 10, 10) for day in range(2, 2 + BACKUPS_COMPARED)]
    history = [*daily(1), much, *since]
    assert judge(history[:-1], past(40, 900, 900)) is None
    assert judge(history, past(40, 900, 900)) is not None


def test_the_first_backups_are_not_judged() -> None:
    assert judge([], past(0, 10**6, 0)) is None
    for days in range(1, BACKUPS_MIN):
        assert judge(daily(days), past(days, 1000, 1000)) is None
    assert judge(daily(BACKUPS_MIN), past(BACKUPS_MIN, 1000, 1000)) is not None


def test_small_backups_jump_about() -> None:
    small = [past(day, 1, 1, count=20) for day in range(20)]
    assert judge(small, past(20, 15, 15, count=20)) is None
    assert judge(small, past(20, 16, 16, count=20)) is not None


def test_a_backup_in_many_checkpoints_is_one() -> None:
    history = daily(20)
    verdicts = []
    for step in range(10):
        new = past(20 + step / 144, 90, 90, partial=step < 9)
        verdicts.append(judge(history, new) is not None)
        history.append(new)
    assert verdicts == [False] * 5 + [True] * 5  # from 540 chunks of 1000 on


def test_one_that_adds_far_more_than_ever() -> None:
    enough = ADDED_MIN_BYTES // CHUNK
    assert judge(daily(20), past(20, enough, 0)) is not None
    assert judge(daily(20), past(20, enough - 1, 0)) is None
    assert judge(daily(20, added=enough // 3), past(20, enough, 0)) is None
    assert judge(daily(20, added=enough // 5), past(20, enough, 0)) is not None
    large = [past(day, 10, 10, count=10**6) for day in range(20)]
    assert judge(large, past(20, 10**5, 0, count=10**6)) is None


def test_a_flood() -> None:
    history = daily(20)
    verdicts = []
    for number in range(FLOOD_MIN + 3):
        new = past(20 + number / 100, 0, 0)
        verdicts.append(judge(history, new) is not None)
        history.append(new)
    # The one of the day before still counts at its beginning.
    assert verdicts.index(True) in (FLOOD_MIN - 1, FLOOD_MIN)
    assert all(verdicts[verdicts.index(True) :])


def test_many_a_day_are_no_flood_for_who_always_makes_many() -> None:
    history = [past(hour / 24, 0, 0) for hour in range(24 * 10)]
    again = [past(10 + half / 48, 0, 0) for half in range(48)]
    for number, each in enumerate(again):
        assert judge([*history, *again[:number]], each) is None


def test_checkpoints_are_no_flood() -> None:
    history = daily(20)
    for number in range(100):
        new = past(20 + number / 144, 1, 0, partial=True)
        assert judge(history, new) is None
        history.append(new)


COUNTS = st.integers(0, 10**7)
COUNTED = st.builds(Counted, COUNTS, st.integers(0, 1 << 45), COUNTS, st.just(0))
FIGURES = st.builds(Past, st.integers(0, 20 * FLOOD_NS), st.booleans(), COUNTS, COUNTED)
HISTORIES = st.lists(FIGURES, max_size=40)


@given(HISTORIES, FIGURES)
def test_any_figures_give_a_verdict(history: Sequence[Past], new: Past) -> None:
    """Clocks jump, and a hostile client commits what it likes."""
    reason = judge(history, new)
    assert reason is None or (reason and "\n" not in reason)


@given(HISTORIES, FIGURES)
def test_what_adds_and_removes_nothing_is_a_flood_or_nothing(
    history: list[Past], new: Past
) -> None:
    whole = [evolve(each, partial=False) for each in history]
    reason = judge(whole, evolve(new, partial=False, counted=Counted(0, 0, 0, 0)))
    assert reason is None or "in 24 hours" in reason


@given(HISTORIES, FIGURES, st.integers(0, 10**6))
def test_more_replaced_is_not_less_unusual(history: list[Past], new: Past, more: int) -> None:
    counted = evolve(new.counted, removed_count=new.counted.removed_count + more)
    if judge(history, new) is not None:
        assert judge(history, evolve(new, counted=counted)) is not None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60))
def test_small_daily_changes_never_raise_an_alarm(changes: list[tuple[int, int]]) -> None:
    history = [past(0, 1000, 0)]
    for day, (added, removed) in enumerate(changes, 1):
        new = past(day, added, removed)
        assert judge(history, new) is None
        history.append(new)
