"""Which rule keeps what, and when it goes: by example."""

import pytest
from attrs import evolve

from obnam_server.upkeep.policy import HOUR_NS
from obnam_server.upkeep.retention import Decision, Fate, decide
from obnam_server.upkeep.retention_time import RetentionTime
from tests.support.candidates import (
    DESKTOP,
    LAPTOP,
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

START = at("2026-09-01T02:00")
NOW = at("2026-11-24T12:00")
DAILY = received(every(days(1), START, 85))
"""Every night from 1 September to 24 November."""


def decided(text: str, **rules: object) -> Decision:
    """What happens, now, to the laptop's generation of this date."""
    plan = plan_at(NOW, DAILY, policy(**rules))
    return next(
        each for each in plan.decisions if each.candidate.received_ns == at(f"2026-{text}T02:00")
    )


def test_all_rules_that_keep_one_are_named() -> None:
    newest = decided("11-24", last=1, hourly=1, daily=1, weekly=2, monthly=3, yearly=1, within="2d")
    assert newest.fate is Fate.KEPT
    assert newest.rules == (
        "newest",
        "last",
        "hourly 2026-11-24T02",
        "daily 2026-11-24",
        "within",
        "minimum age",
    )
    assert decided("11-09", weekly=2).rules == ("weekly 2026-W46",)
    assert decided("11-01", monthly=1).rules == ("monthly 2026-11",)
    assert decided("09-01", yearly=1, monthly=3).rules == ("monthly 2026-09", "yearly 2026")


@pytest.mark.parametrize(
    ("rules", "count"),
    [
        # From the 17th on they are too young to count; the three before those are the newest.
        ({"last": 20}, 8 + 20),
        ({"hourly": 20}, 8 + 20),
        ({"daily": 20}, 8 + 20),
        ({"weekly": 4}, 8 + 3 + 3),  # one of the four Mondays is among the newest
        ({"monthly": 2}, 8 + 3 + 2),
        ({"yearly": 1}, 8 + 3 + 1),
        ({"within": "20d"}, 20),
        # A day must be over for a day before it takes a place, even so.
        ({"monthly": 100, "minimum_age": "0d", "newest": 1}, 2 + 1 + 3),
    ],
)
def test_how_many_are_kept(rules: dict[str, object], count: int) -> None:
    assert len(kept(plan_at(NOW, DAILY, policy(**rules)))) == count


def test_what_no_rule_keeps_goes_now() -> None:
    assert decided("11-10", daily=5) == Decision(DAILY[70], Fate.GOES)


def test_without_a_policy_everything_is_kept() -> None:
    plan = plan_at(NOW + days(4000), DAILY, None)
    assert {each.rules for each in plan.decisions} == {("no policy",)}


def test_when_it_goes_is_told_where_that_is_known() -> None:
    within = decided("11-10", within="20d")
    assert (within.rules, within.at_ns) == (("within",), at("2026-11-30T02:00"))
    # It is the newest of those that count until the 19th is 7 days over, and counts too.
    young = decided("11-18", within="1d", newest=1)
    assert (young.rules, young.at_ns) == (("newest", "minimum age"), at("2026-11-27T00:00"))
    daily = decided("11-16", daily=5, newest=1)
    assert (daily.rules, daily.at_ns) == (("newest", "daily 2026-11-16"), at("2026-11-29T00:00"))
    assert decided("11-23", daily=5).at_ns is None


def test_periods_in_which_nothing_came_do_not_count() -> None:
    """A laptop that was in a drawer for a year has lost nothing by that."""
    rules = policy(daily=14, weekly=8, monthly=12)
    before = kept(plan_at(NOW, DAILY, rules))
    later = kept(plan_at(NOW + days(365), DAILY, rules))
    firsts = [each for each in DAILY if each.received_ns >= at("2026-11-11T02:00")]
    assert {each.generation for each in firsts} <= later <= before


def test_clients_of_one_repository_are_decided_separately() -> None:
    theirs = received(every(days(7), START, 12), DESKTOP, first=1000)
    rules = policy(daily=5, clients={"desktop": {"daily": 2, "weekly": 4}})
    together = kept(plan_at(NOW, in_order(DAILY, theirs), rules))
    alone = kept(plan_at(NOW, DAILY, rules)) | kept(plan_at(NOW, theirs, rules))
    assert together == alone


# Pins, hold, alarm


def test_pinned_ones_are_kept_with_the_reason() -> None:
    pinned = [evolve(DAILY[10], pinned="before the move"), *DAILY[11:]]
    decision = plan_at(NOW, pinned, policy(daily=5)).decisions[0]
    assert (decision.fate, decision.rules) == (Fate.KEPT, ("pinned: before the move",))
    assert decision.at_ns is None


def test_a_hold_keeps_everything_and_the_trash() -> None:
    trashed = [evolve(DAILY[0], trashed_ns=START + days(1)), *DAILY[1:]]
    plan = decide(trashed, policy(daily=5), NOW, RetentionTime(NOW, NOW), hold="the court")
    assert plan.with_fate(Fate.GOES) == plan.with_fate(Fate.EXPUNGED) == ()
    assert all("hold: the court" in each.rules for each in plan.decisions)


def test_an_alarm_keeps_everything_of_that_client() -> None:
    theirs = received(every(days(1), START, 85), DESKTOP, first=1000)
    trashed = [evolve(DAILY[0], trashed_ns=START + days(1)), *DAILY[1:]]
    plan = decide(
        in_order(trashed, theirs), policy(daily=5), NOW, RetentionTime(NOW, NOW), {LAPTOP}
    )
    going = {
        each.candidate.client for each in plan.decisions if each.fate in (Fate.GOES, Fate.EXPUNGED)
    }
    assert going == {DESKTOP}


# Checkpoints


def test_a_checkpoint_counts_for_no_period() -> None:
    """It comes first in its day, and yet the complete one after it is the day's."""
    partial = received(every(days(1), START - HOUR_NS, 85), first=1000, partial=True)
    rules = policy(daily=10, last=10)
    together = kept(plan_at(NOW, in_order(DAILY, partial), rules))
    old = {each.generation for each in partial if NOW - each.received_ns >= days(7)}
    assert together - {each.generation for each in partial} == kept(plan_at(NOW, DAILY, rules))
    assert not together & old


def test_a_checkpoint_is_kept_while_it_is_young_or_the_newest() -> None:
    first, second = received([START, START + days(1)], first=1000, partial=True)
    rules = policy(within="90d")
    decisions = by_id(plan_at(START + days(5), [first, second], rules))
    assert decisions[first.generation].rules == ("minimum age",)
    decisions = by_id(plan_at(START + days(30), [first, second], rules))
    assert decisions[first.generation].fate is Fate.GOES
    assert decisions[second.generation].rules == ("newest",)


def test_the_newest_complete_one_is_kept_beside_a_newer_checkpoint() -> None:
    """For ever: nothing here asks whether the client is still one, or was revoked."""
    complete = received([START])
    partial = received(every(HOUR_NS, START + HOUR_NS, 50), first=2, partial=True)
    plan = plan_at(START + days(3650), complete + partial, policy(within="1s", newest=1))
    assert kept(plan) == {complete[0].generation, partial[-1].generation}


# The trash


def test_the_trash_is_kept_for_its_days() -> None:
    rules = policy(daily=5, trash_days=10)
    gone = carried_out(plan_at(NOW, DAILY, rules), NOW)
    waiting = plan_at(NOW + days(10) - 1, gone, rules)
    trashed = waiting.with_fate(Fate.TRASHED)
    assert trashed
    assert waiting.with_fate(Fate.EXPUNGED) == ()
    assert by_id(waiting)[trashed[0]].at_ns == NOW + days(10)
    assert plan_at(NOW + days(10), gone, rules).with_fate(Fate.EXPUNGED) == trashed


def test_without_a_policy_the_trash_is_emptied_after_the_default() -> None:
    trashed = [evolve(DAILY[0], trashed_ns=NOW - days(1)), *DAILY[1:]]
    assert plan_at(NOW + days(29) - 1, trashed, None).with_fate(Fate.EXPUNGED) == ()
    plan = plan_at(NOW + days(29), trashed, None)
    assert plan.with_fate(Fate.EXPUNGED) == (DAILY[0].generation,)


def test_a_deletion_changes_no_other_ones_time() -> None:
    """The second came when the clock had gone back: it is as young as the first, deleted or not."""
    first, second, third = received([NOW - days(5), NOW - days(40), NOW - days(4)])
    rules = policy(within="10d", newest=1, minimum_age="0d")
    for deleted in (None, NOW - days(1)):
        plan = plan_at(NOW, [evolve(first, trashed_ns=deleted), second, third], rules)
        decision = by_id(plan)[second.generation]
        assert (decision.fate, "within" in decision.rules) == (Fate.KEPT, True)


def test_what_was_pinned_in_the_trash_is_not_expunged() -> None:
    trashed = evolve(DAILY[0], trashed_ns=START, pinned="wait")
    decision = plan_at(NOW, [trashed, *DAILY[1:]], policy(daily=5)).decisions[0]
    assert (decision.fate, decision.rules) == (Fate.TRASHED, ("pinned: wait",))


def test_what_was_deleted_by_hand_leaves_its_place_to_the_next_of_its_day() -> None:
    twice = received([START, START + HOUR_NS, *every(days(1), START + days(1), 30)])
    twice[0] = evolve(twice[0], trashed_ns=START + days(2))
    decision = by_id(plan_at(START + days(31), twice, policy(daily=40)))[twice[1].generation]
    assert decision.rules == ("daily 2026-09-01",)


def test_nothing_is_decided_over_nothing() -> None:
    assert plan_at(NOW, [], policy(daily=5)).decisions == ()
