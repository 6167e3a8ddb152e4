"""Generations for retention to decide over, made from a date and an interval."""

from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import evolve

from obnam.model.ids import ClientName, GenerationId
from obnam_server.upkeep.policy import DAY_NS, Policy, parse_policy
from obnam_server.upkeep.retention import Candidate, Decision, Fate, Plan, decide
from obnam_server.upkeep.retention_time import RetentionTime

LAPTOP, DESKTOP = ClientName("laptop"), ClientName("desktop")


def at(text: str) -> int:
    """``2026-11-24T13:00``, UTC, in ns since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def policy(**rules: object) -> Policy:
    """A policy, checked as an administrator's is."""
    found = parse_policy(rules)
    assert found is not None
    return found


def received(
    times_ns: Iterable[int], client: ClientName = LAPTOP, first: int = 1, partial: bool = False
) -> list[Candidate]:
    """Generations of a client, in order of sequence from ``first``."""
    return [
        Candidate(GenerationId(f"{sequence:032x}"), client, sequence, time_ns, partial)
        for sequence, time_ns in enumerate(times_ns, first)
    ]


def every(step_ns: int, start_ns: int, count: int) -> list[int]:
    """``count`` times."""
    return [start_ns + place * step_ns for place in range(count)]


def in_order(*groups: Iterable[Candidate]) -> list[Candidate]:
    """All, numbered anew by the time at which they were received; ids stay."""
    together = sorted((each for group in groups for each in group), key=lambda e: e.received_ns)
    return [evolve(each, sequence=sequence) for sequence, each in enumerate(together, 1)]


def plan_at(now_ns: int, candidates: Iterable[Candidate], rules: Policy | None) -> Plan:
    """What a server decides whose clock has always been right."""
    return decide(candidates, rules, now_ns, RetentionTime(now_ns, now_ns))


def kept(plan: Plan) -> set[GenerationId]:
    """All that does not go."""
    return set(plan.with_fate(Fate.KEPT))


def by_id(plan: Plan) -> dict[GenerationId, Decision]:
    """The decisions of a plan."""
    return {each.candidate.generation: each for each in plan.decisions}


def carried_out(plan: Plan, now_ns: int) -> list[Candidate]:
    """What there is after a plan was followed."""
    return [
        evolve(each.candidate, trashed_ns=now_ns) if each.fate is Fate.GOES else each.candidate
        for each in plan.decisions
        if each.fate is not Fate.EXPUNGED
    ]


def days(number: float) -> int:
    """In ns."""
    return int(number * DAY_NS)
