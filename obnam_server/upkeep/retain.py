"""Retention of a repository: looked at, decided, and carried out."""

from attrs import frozen
from twisted.logger import Logger

from obnam.model.ids import ClientName
from obnam.wire.listing import ListedGeneration
from obnam_server.store.generations.decisions import KeptGeneration
from obnam_server.store.generations.register import Register
from obnam_server.store.repository import RepositoryStore
from obnam_server.upkeep.policy import PolicyRefused, parse_policy
from obnam_server.upkeep.retention import Candidate, Fate, Plan, decide, stays_in_trash_ns
from obnam_server.upkeep.retention_time import RetentionTime
from obnam_server.work import Work

SEEN, TIME = "retention seen", "retention"
"""Under which names the times of a run are noted."""

log = Logger()


@frozen
class Looked:
    """A plan, and the version of the register that it goes by."""

    plan: Plan
    version: int


def look(repository: RepositoryStore, now_ns: int) -> Looked:
    """What retention would do now, by the policy in force. Any thread."""
    register = repository.decisions.register()
    times = repository.times()
    last = RetentionTime(times[SEEN], times[TIME]) if SEEN in times else None
    plan = decide(
        [_candidate(each) for each in repository.decisions.all()],
        parse_policy(register.policy),
        now_ns,
        last,
        _alarmed(register),
        None if register.hold is None else register.hold.reason,
    )
    return Looked(plan, register.version)


def trash(repository: RepositoryStore, after: int, limit: int) -> list[ListedGeneration]:
    """At most ``limit`` generations in the trash, with sequence numbers above ``after``.

    Each with the time until which the policy in force leaves it there. Any thread.
    """
    try:
        stays_ns = stays_in_trash_ns(parse_policy(repository.decisions.register().policy))
    except PolicyRefused:
        stays_ns = None  # `look` fails for the same reason, is logged, and nothing goes.
    return repository.decisions.trash(after, limit, stays_ns)


def _candidate(each: KeptGeneration) -> Candidate:
    summary = each.summary
    return Candidate(
        generation=summary.receipt.generation,
        client=summary.client,
        sequence=summary.receipt.sequence,
        received_ns=summary.receipt.received_ns,
        partial=summary.partial,
        pinned=None if each.pin is None else each.pin.reason,
        trashed_ns=None if each.trashed is None else each.trashed.at_ns,
    )


def _alarmed(register: Register) -> frozenset[ClientName]:
    return frozenset(register.alarms)


def carry_out(repository: RepositoryStore, looked: Looked) -> bool:
    """WRITER. Do what the plan says; false: something was decided meanwhile, nothing is done."""
    plan = looked.plan
    # First the time: a run that is cut short must not be repeated with the same step ahead.
    repository.put_times({SEEN: plan.time.seen_ns, TIME: plan.time.time_ns})
    return repository.decisions.retire(
        plan.with_fate(Fate.GOES), plan.with_fate(Fate.EXPUNGED), looked.version
    )


async def retain(repository: RepositoryStore, work: Work, now_ns: int) -> Plan | None:
    """One run; the plan that was carried out. ``None``: a decision of somebody crossed it, and it
    is left to the next run.
    """
    looked = await work.background(look, repository, now_ns)
    done = await work.write(repository.change, carry_out, repository, looked)
    if not done:
        log.info("Retention of {name} waits: something was decided", name=repository.name)
        return None
    return looked.plan
