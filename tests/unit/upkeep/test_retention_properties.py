"""What holds for every repository, policy and time."""

import random

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from obnam.model.ids import ClientName, GenerationId
from obnam_server.upkeep.periods import PERIODS
from obnam_server.upkeep.policy import DAY_NS, HOUR_NS, Policy, Rules
from obnam_server.upkeep.retention import (
    PUSHES_AFTER_NS,
    Candidate,
    Fate,
    decide,
)
from obnam_server.upkeep.retention_time import RetentionTime
from tests.support.candidates import DESKTOP, LAPTOP, at, by_id, carried_out, days, kept, plan_at
from tests.support.soak import SOAK

START = at("2026-09-01T02:05")

gaps = st.sampled_from(
    [0, 1, HOUR_NS // 10, HOUR_NS, HOUR_NS * 7, days(1), days(2.5), days(8), days(40), days(400)]
)
jumps = st.sampled_from([-HOUR_NS, -days(1), -days(3), -days(400)])
clients = st.sampled_from([LAPTOP, DESKTOP])
counts = st.integers(0, 4)
rule_sets = st.builds(
    Rules,
    last=counts,
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=counts,
    within_ns=st.just(0) | gaps,
    minimum_age_ns=st.just(0) | gaps,
    newest=st.integers(1, 3),
)
policies = st.builds(Policy, rule_sets, st.integers(1, 50))


@frozen
class Commit:
    """One commit, so long after the one before."""

    gap_ns: int
    client: ClientName
    partial: bool
    pinned: bool
    trashed: bool


def histories(
    gap: st.SearchStrategy[int], trash: bool = True
) -> st.SearchStrategy[list[Candidate]]:
    commit = st.builds(
        Commit,
        gap,
        clients,
        st.sampled_from([False, False, False, True]),
        st.sampled_from([False] * 9 + [True]),
        st.sampled_from([False] * 9 + [trash]),
    )
    return st.lists(commit, max_size=25).map(lambda commits: history(commits, START, 1))


def history(commits: list[Commit], start_ns: int, first: int) -> list[Candidate]:
    found = []
    time_ns = start_ns
    for sequence, commit in enumerate(commits, first):
        time_ns = max(0, time_ns + commit.gap_ns)
        found.append(
            Candidate(
                GenerationId(f"{sequence:032x}"),
                commit.client,
                sequence,
                time_ns,
                commit.partial,
                "a reason" if commit.pinned else None,
                time_ns if commit.trashed else None,
            )
        )
    return found


steady = histories(gaps)
jumping = histories(gaps | jumps)


def after(candidates: list[Candidate], gap_ns: int) -> int:
    """A time at which all of these are there."""
    return max([START, *(each.received_ns for each in candidates)]) + gap_ns


@given(jumping, policies, gaps, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    candidates: list[Candidate], policy: Policy, gap_ns: int, chance: random.Random
) -> None:
    now_ns = after(candidates, gap_ns)
    mixed = list(candidates)
    chance.shuffle(mixed)
    assert plan_at(now_ns, candidates, policy) == plan_at(now_ns, mixed, policy)


@given(jumping, policies, gaps | jumps)
def test_each_is_decided_once_and_every_kept_one_has_a_rule(
    candidates: list[Candidate], policy: Policy, gap_ns: int
) -> None:
    plan = plan_at(after(candidates, gap_ns), candidates, policy)
    assert [each.candidate for each in plan.decisions] == candidates
    for each in plan.decisions:
        assert (each.candidate.trashed_ns is None) == (each.fate in (Fate.KEPT, Fate.GOES))
        assert bool(each.rules) or each.fate is not Fate.KEPT
        assert each.fate is not Fate.TRASHED or bool(each.rules) != (each.at_ns is not None)


@given(jumping, policies, gaps | jumps, st.sets(clients), st.none() | st.just("the court"))
def test_what_must_stay_stays(
    candidates: list[Candidate],
    policy: Policy,
    gap_ns: int,
    alarmed: set[ClientName],
    hold: str | None,
) -> None:
    """The pinned, the held, the alarmed, the newest, and the newest complete of each client."""
    now_ns = after(candidates, gap_ns)
    plan = decide(candidates, policy, now_ns, RetentionTime(now_ns, now_ns), alarmed, hold)
    standing = [each for each in candidates if each.trashed_ns is None]
    newest = {each.client: each.generation for each in standing}
    complete = {each.client: each.generation for each in standing if not each.partial}
    for each in plan.decisions:
        candidate = each.candidate
        if each.fate in (Fate.GOES, Fate.EXPUNGED):
            assert plan.halted is None
            assert candidate.pinned is None
            assert hold is None
            assert candidate.client not in alarmed
            assert candidate.generation not in (*newest.values(), *complete.values())


@given(jumping, policies, gaps)
def test_deciding_again_deletes_nothing_more(
    candidates: list[Candidate], policy: Policy, gap_ns: int
) -> None:
    now_ns = after(candidates, gap_ns)
    plan = plan_at(now_ns, candidates, policy)
    # But for what is expunged: with it goes what it showed of a clock that jumped, and so one of
    # two guesses at the times of others, which kept more than the rules demand.
    there = [
        evolve(each.candidate, trashed_ns=now_ns) if each.fate is Fate.GOES else each.candidate
        for each in plan.decisions
    ]
    again = decide(there, policy, now_ns, plan.time)
    assert again.with_fate(Fate.GOES) == ()
    assert again.with_fate(Fate.EXPUNGED) == plan.with_fate(Fate.EXPUNGED)


@given(steady, policies, gaps)
def test_deciding_again_when_all_is_carried_out_deletes_nothing_more(
    candidates: list[Candidate], policy: Policy, gap_ns: int
) -> None:
    now_ns = after(candidates, gap_ns)
    plan = plan_at(now_ns, candidates, policy)
    again = decide(carried_out(plan, now_ns), policy, now_ns, plan.time)
    assert again.with_fate(Fate.GOES) == again.with_fate(Fate.EXPUNGED) == ()


@given(steady, policies, gaps)
def test_what_is_gone_for_good_takes_nothing_with_it(
    candidates: list[Candidate], policy: Policy, gap_ns: int
) -> None:
    now_ns = after(candidates, gap_ns)
    plan = plan_at(now_ns, candidates, policy)
    left = [each for each in candidates if each.generation not in plan.with_fate(Fate.GOES)]
    assert plan_at(now_ns, left, policy).with_fate(Fate.GOES) == ()


@given(steady, st.lists(st.tuples(gaps, st.booleans()), max_size=10), policies, gaps)
def test_what_a_client_adds_makes_no_other_clients_generation_go(
    candidates: list[Candidate], added: list[tuple[int, bool]], policy: Policy, gap_ns: int
) -> None:
    stranger = ClientName("stranger")
    commits = [Commit(gap, stranger, partial, False, False) for gap, partial in added]
    start_ns = after(candidates, 0)
    together = candidates + history(commits, start_ns, len(candidates) + 1)
    now_ns = after(together, gap_ns)
    without = plan_at(now_ns, candidates, policy)
    assert plan_at(now_ns, together, policy).decisions[: len(candidates)] == without.decisions


@given(
    steady,
    st.lists(st.tuples(st.integers(0, HOUR_NS // 10), st.booleans()), max_size=10),
    policies,
    gaps,
)
def test_a_flood_of_an_hour_pushes_nothing_out(
    candidates: list[Candidate], added: list[tuple[int, bool]], policy: Policy, gap_ns: int
) -> None:
    """As soon as it is over, and until it is a day old, or as old as the policy says."""
    commits = [Commit(gap, LAPTOP, partial, False, False) for gap, partial in added]
    # The checkpoint that was the newest is none any more; nobody restores from it.
    start_ns = after(candidates, gap_ns)
    flood = history(commits, start_ns, len(candidates) + 1)
    complete = {each.generation for each in candidates if not each.partial}
    pushes_ns = max(PUSHES_AFTER_NS, policy.rules.minimum_age_ns)
    for now_ns in (after(flood, 0), start_ns + pushes_ns - 1):
        if now_ns < after(candidates + flood, 0):
            continue
        without = kept(plan_at(now_ns, candidates, policy)) & complete
        assert without <= kept(plan_at(now_ns, candidates + flood, policy))


@settings(max_examples=200 * SOAK)
@given(
    steady,
    st.lists(st.tuples(gaps, st.booleans()), max_size=20),
    policies,
    gaps,
)
def test_a_period_is_kept_for_as_long_as_the_calendar_says_whatever_is_added(
    candidates: list[Candidate], added: list[tuple[int, bool]], policy: Policy, gap_ns: int
) -> None:
    """`daily: 14` keeps the first of a day for 14 days: nobody can take that away."""
    commits = [Commit(gap, LAPTOP, partial, False, False) for gap, partial in added]
    together = candidates + history(commits, after(candidates, 0), len(candidates) + 1)
    now_ns = after(together, gap_ns)
    plan = by_id(plan_at(now_ns, together, policy))
    for rule, period in PERIODS.items():
        firsts: dict[tuple[ClientName, int], Candidate] = {}
        for each in together:
            if not each.partial and each.trashed_ns is None:
                firsts.setdefault((each.client, period.number(each.received_ns)), each)
        for (_, number), each in firsts.items():
            if period.number(now_ns) - number < getattr(policy.rules, rule):
                label = f"{rule} {period.label(each.received_ns)}"
                assert label in plan[each.generation].rules


@given(steady, policies, gaps)
def test_it_goes_when_it_was_said_to_go_and_not_before(
    candidates: list[Candidate], policy: Policy, gap_ns: int
) -> None:
    plan = plan_at(after(candidates, gap_ns), candidates, policy)
    ends = {
        each.candidate.generation: each.at_ns for each in plan.decisions if each.at_ns is not None
    }
    for generation, at_ns in ends.items():
        before = by_id(plan_at(at_ns - 1, candidates, policy))[generation].fate
        then = by_id(plan_at(at_ns, candidates, policy))[generation].fate
        assert (before, then) in (
            (Fate.KEPT, Fate.GOES),
            (Fate.TRASHED, Fate.EXPUNGED),
        )


@given(steady, policies, gaps, st.integers(0, 3), gaps)
def test_time_that_passes_makes_nothing_come_back(
    candidates: list[Candidate], policy: Policy, gap_ns: int, number: int, step_ns: int
) -> None:
    now_ns = after(candidates, gap_ns)
    earlier = kept(plan_at(now_ns, candidates, policy))
    later = kept(plan_at(now_ns + number * step_ns, candidates, policy))
    assert later <= earlier


@given(jumping, policies, st.lists(gaps | jumps | st.just(3650 * DAY_NS), max_size=6))
def test_nothing_goes_in_a_run_after_a_jump(
    candidates: list[Candidate], policy: Policy, steps: list[int]
) -> None:
    """Run after run, with a clock that does what it likes."""
    now_ns = after(candidates, 0)
    time = plan_at(now_ns, candidates, policy).time
    for step_ns in steps:
        now_ns = max(0, now_ns + step_ns)
        plan = decide(candidates, policy, now_ns, time)
        going = plan.with_fate(Fate.GOES) + plan.with_fate(Fate.EXPUNGED)
        newest_ns = max((e.received_ns for e in candidates if e.trashed_ns is None), default=0)
        if step_ns > days(8) or now_ns < newest_ns or now_ns < plan.time.time_ns:
            assert going == ()
        time = plan.time
        candidates = [
            evolve(each.candidate, trashed_ns=now_ns) if each.fate is Fate.GOES else each.candidate
            for each in plan.decisions
        ]
