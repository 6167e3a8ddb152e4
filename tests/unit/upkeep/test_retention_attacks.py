"""Attacks on retention: by the clock, and by a flood of generations with a stolen token."""

import pytest
from attrs import evolve

from obnam.model.ids import GenerationId
from obnam_server.upkeep.policy import HOUR_NS, Policy
from obnam_server.upkeep.retention import Candidate, Fate, Plan, decide
from tests.support.candidates import (
    at,
    by_id,
    carried_out,
    days,
    every,
    in_order,
    kept,
    plan_at,
    policy,
    received,
)

START = at("2026-09-01T02:05")
FULL = policy(last=10, hourly=24, daily=14, weekly=8, monthly=12, yearly=3, within="20d")
MINUTE_NS = HOUR_NS // 60


def ids(candidates: list[Candidate]) -> set[GenerationId]:
    return {each.generation for each in candidates}


def nothing_goes(plan: Plan) -> bool:
    return not plan.with_fate(Fate.GOES) and not plan.with_fate(Fate.EXPUNGED)


# The clock


def test_clock_jumps_ten_years_ahead() -> None:
    """After 30 days of runs every hour, retention has gone 37 days and 8, no ten years."""
    daily = received(every(days(1), START, 85))
    now_ns = daily[-1].received_ns + HOUR_NS
    rules = policy(within="80d", daily=10)
    time = plan_at(now_ns, daily, rules).time
    there = carried_out(plan_at(now_ns, daily, rules), now_ns)
    jumped_ns = now_ns + days(3650)
    first = decide(there, rules, jumped_ns, time)
    assert nothing_goes(first)
    assert first.halted is not None
    time = first.time
    for hour in range(1, 24 * 30 + 1):
        plan = decide(there, rules, jumped_ns + hour * HOUR_NS, time)
        time = plan.time
        there = carried_out(plan, jumped_ns + hour * HOUR_NS)
    standing = {each.generation for each in there if each.trashed_ns is None}
    young = {each.generation for each in daily if now_ns - each.received_ns < days(80 - 46)}
    assert young <= standing
    expunged = ids(daily) - ids(there)
    assert expunged <= set(plan_at(now_ns, daily, rules).with_fate(Fate.GOES))


def test_clock_jumps_ahead_and_a_flood_uses_it() -> None:
    """What is received by a clock that is years ahead counts for nothing until its time comes."""
    daily = received(every(days(1), START, 85))
    now_ns = daily[-1].received_ns + HOUR_NS
    time = plan_at(now_ns, daily, FULL).time
    before = kept(plan_at(now_ns, daily, policy(daily=14, last=10, monthly=3)))
    jumped_ns = now_ns + days(3650)
    flood = received(every(days(1), jumped_ns, 500), first=1000)
    for hour in range(48):
        later_ns = jumped_ns + days(501) + hour * HOUR_NS
        plan = decide(daily + flood, FULL, later_ns, time)
        time = plan.time
        assert before <= kept(plan)
    assert by_id(plan)[flood[5].generation].rules[-1] == "not counted yet"


def test_clock_goes_back_before_the_newest_generation() -> None:
    daily = received(every(days(1), START, 85))
    now_ns = daily[-1].received_ns
    for back_ns in (1, HOUR_NS, days(30), now_ns):
        plan = plan_at(now_ns - back_ns, daily, policy(daily=1))
        assert nothing_goes(plan)
        assert plan.halted is not None
        assert all("clock" in each.rules for each in plan.decisions)


def test_clock_goes_back_and_what_was_received_then_is_old_at_once() -> None:
    """Ten backups were dated a year ago: they are as old as what came before them, no older."""
    daily = received(every(days(1), START, 85))
    last_ns = daily[-1].received_ns
    dated = received(every(days(1), last_ns - days(365), 10), first=86)
    young = policy(within="7d", minimum_age="0d", newest=1)
    assert ids(dated) <= kept(plan_at(last_ns + days(7) - 1, daily + dated, young))
    partial = [evolve(each, partial=True) for each in dated]
    plan = plan_at(last_ns + days(7) - 1, daily + partial, policy(daily=3))
    assert ids(partial) <= kept(plan)


def test_clock_was_set_back_for_one_commit_and_the_days_before_it_stay_days() -> None:
    """One commit was dated 30 days back: what came before it did not all come on that day."""
    daily = received(every(days(1), START, 85))
    wrong = received([START + days(54)], first=86)
    after = received(every(days(1), START + days(85), 10), first=87)
    plan = plan_at(START + days(120), daily + wrong + after, policy(daily=50))
    assert ids(daily[-40:]) <= kept(plan)


def test_clock_was_ahead_for_one_commit_and_the_next_days_share_no_day() -> None:
    """One commit was dated 20 days ahead; the 20 nights after it are days of their own.

    But for the first of them, before which it came.
    """
    before = received(every(days(1), START, 10))
    wrong = received([START + days(30)], first=11)
    after = received(every(days(1), START + days(10), 20), first=12)
    plan = plan_at(START + days(60), before + wrong + after, policy(daily=25))
    assert ids(wrong + after[1:]) <= kept(plan)


def test_clock_was_ahead_and_an_administrator_deletes_what_came_from_the_future() -> None:
    daily = received(every(days(1), START, 60))
    wrong = received([START + days(3650)], first=61)
    more = received(every(days(1), START + days(60), 40), first=62)
    now_ns = START + days(100)
    assert plan_at(now_ns, daily + wrong + more, policy(daily=10)).halted is not None
    deleted = [evolve(wrong[0], trashed_ns=now_ns)]
    plan = plan_at(now_ns, daily + deleted + more, policy(daily=10))
    assert plan.halted is None
    assert plan.with_fate(Fate.GOES) == plan_at(now_ns, daily + more, policy(daily=10)).with_fate(
        Fate.GOES
    )


def test_clock_was_at_zero_when_something_was_deleted() -> None:
    """The battery of the clock is flat: 1970. The trash is not emptied for that."""
    daily = received(every(days(1), START, 60))
    deleted = [evolve(daily[0], trashed_ns=5), *daily[1:]]
    decision = plan_at(START + days(61), deleted, policy(daily=100)).decisions[0]
    assert (decision.fate, decision.rules, decision.at_ns) == (Fate.TRASHED, ("clock",), None)


# The flood


def flood_of(count: int, start_ns: int) -> list[Candidate]:
    """So many generations within an hour."""
    return received(every(HOUR_NS // count, start_ns, count), first=100_000)


@pytest.mark.parametrize("starts", ["2026-10-10T10:30", "2026-10-10T23:30", "2026-12-31T23:30"])
@pytest.mark.parametrize(
    ("step_ns", "rules"),
    [
        (HOUR_NS, FULL),
        (days(1), policy(daily=14, weekly=8, monthly=12, yearly=3, within="20d")),
    ],
)
def test_flood_with_a_stolen_token_pushes_no_good_one_out(
    starts: str, step_ns: int, rules: Policy
) -> None:
    """The client goes on with its backups, and whatever is kept without the flood is with it."""
    flood_ns = at(starts)
    good = received(every(step_ns, START - days(20), days(180) // step_ns))
    flood = flood_of(10_000, flood_ns)
    for day in (0, 0.05, 6.9, 7.1, 8, 14, 30):
        now_ns = flood_ns + HOUR_NS + days(day)
        there = [each for each in good if each.received_ns <= now_ns]
        before = [each for each in there if each.received_ns < flood_ns]
        without = kept(plan_at(now_ns, there, rules))
        assert without & ids(before) <= kept(plan_at(now_ns, in_order(there, flood), rules))


def test_flood_pushes_nothing_out_of_any_rule_while_it_is_young() -> None:
    """Not even of a computer that makes a backup now and then: there is a week to notice."""
    good = received(every(days(5), START, 40))
    flood_ns = good[-1].received_ns + days(2)
    flood = flood_of(10_000, flood_ns)
    for rules in (FULL, policy(last=5), policy(within="1s"), policy(hourly=5, newest=1)):
        for day in (0, 3, 6.9):
            now_ns = flood_ns + HOUR_NS + days(day)
            without = kept(plan_at(now_ns, good, rules))
            assert without <= kept(plan_at(now_ns, in_order(good, flood), rules)) | ids(flood)


def test_flood_of_an_hour_counts_as_two_hours_at_most_whatever_it_holds() -> None:
    """A computer that is long off, its token stolen: `last` loses two, `newest` one, a year on."""
    good = received(every(days(5), START, 20))
    flood = flood_of(10_000, good[-1].received_ns + days(300) + 30 * MINUTE_NS)
    now_ns = flood[0].received_ns + days(365)
    everything = in_order(good, flood)
    assert len(kept(plan_at(now_ns, everything, policy(last=10))) & ids(good)) == 8
    assert len(kept(plan_at(now_ns, everything, policy(hourly=10))) & ids(good)) == 8
    assert len(kept(plan_at(now_ns, everything, policy(daily=10))) & ids(good)) == 9
    assert len(kept(plan_at(now_ns, everything, policy(within="1s"))) & ids(good)) == 2


def test_flood_in_a_period_does_not_take_it_from_the_one_before() -> None:
    """The first of a period stays its own, whatever comes later in it: the last would not."""
    good = received([START])
    flood = received(every(MINUTE_NS // 20, START + MINUTE_NS, 1000), first=100_000)
    later = received(every(days(40), START + days(40), 5), first=200_000)
    now_ns = START + days(250)
    for rule in ("hourly", "daily", "weekly", "monthly", "last"):
        plan = plan_at(now_ns, in_order(good, flood, later), policy(**{rule: 6}))
        assert kept(plan) & ids(good + flood) >= ids(good)


def test_flood_of_checkpoints_counts_for_nothing() -> None:
    good = received(every(days(5), START, 40))
    flood = [evolve(each, partial=True) for each in flood_of(10_000, START + days(197))]
    now_ns = START + days(250)
    plan = plan_at(now_ns, in_order(good, flood), FULL)
    assert kept(plan) & ids(good) == kept(plan_at(now_ns, good, FULL))


def test_flood_goes_on_for_as_long_as_it_likes_and_days_stay_days() -> None:
    """An attacker who floods for a week: what 14 days keep is still there a week later."""
    good = received(every(HOUR_NS * 24, START, 60))
    flood = received(every(MINUTE_NS, good[-1].received_ns + HOUR_NS, 7 * 24 * 60), first=100_000)
    now_ns = flood[-1].received_ns
    plan = plan_at(now_ns, in_order(good, flood), policy(daily=14))
    # Seven days are the attacker's; of the 14 that count at least seven are not.
    assert ids(good[-7:]) <= kept(plan)
