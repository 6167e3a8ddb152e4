"""Which generations are kept, and by which rule; which go, and when. Pure: it deletes nothing.

A generation is kept while any rule keeps it. A rule that counts keeps the *first* complete
generation of each of its periods, and a later one pushes it out only when it is old enough
itself: so nobody gets rid of good generations by adding bad ones, faster than time passes.
See ``docs/operations/retention.md`` and ``docs/decisions/0004-retention-keeps-firsts.md``.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum

from attrs import define, field, frozen

from obnam.model.ids import ClientName, GenerationId
from obnam_server.upkeep.periods import PERIODS, Period
from obnam_server.upkeep.policy import DAY_NS, TRASH_DAYS_DEFAULT, Policy, Rules
from obnam_server.upkeep.retention_time import (
    RetentionTime,
    advance,
    not_after,
    not_before,
)

PUSHES_AFTER_NS = DAY_NS
"""How old a generation must be, at least, before it takes another one's place in a count."""


@frozen
class Candidate:
    """A generation as far as retention looks at it. Times: ns since the epoch.

    ``sequence`` counts the repository's commits; ``partial``: a checkpoint of an interrupted
    backup; ``pinned``: why it is kept whatever the policy says; ``trashed_ns``: when it was put
    into the trash.
    """

    generation: GenerationId
    client: ClientName
    sequence: int
    received_ns: int
    partial: bool = False
    pinned: str | None = None
    trashed_ns: int | None = None


class Fate(Enum):
    """What is to be done with a generation."""

    KEPT = "kept"
    GOES = "goes"
    """Now, into the trash."""
    TRASHED = "trashed"
    """It is in the trash, and stays there for the time being."""
    EXPUNGED = "expunged"
    """Now, from the trash, for good."""


@frozen
class Decision:
    """A generation's fate and ``rules``, all those that keep it, where it is.

    ``at_ns``: when it will go, or be expunged, at the earliest (retention's time, ns since the
    epoch); ``None``: now, or that depends on what is yet to come.
    """

    candidate: Candidate
    fate: Fate
    rules: tuple[str, ...] = ()
    at_ns: int | None = None


@frozen
class Plan:
    """What one run of retention decided, in order of sequence. ``time`` is to be stored first.

    ``halted``: why nothing goes in this run, whatever its age; ``None``: it is not halted.
    """

    time: RetentionTime
    halted: str | None
    decisions: tuple[Decision, ...]

    def with_fate(self, fate: Fate) -> tuple[GenerationId, ...]:
        """The generations that have this fate."""
        return tuple(each.candidate.generation for each in self.decisions if each.fate is fate)


@define
class _Timed:
    """A candidate with its times, and what keeps it: ``upper_ns`` is not before any earlier one's,
    ``lower_ns`` not after any later one's. ``until_ns``: how long the rules keep it, as far as
    they end; ``endless``: one does not.
    """

    candidate: Candidate
    upper_ns: int
    lower_ns: int
    rules: list[str] = field(factory=list)
    until_ns: int = 0
    endless: bool = False

    def keep(self, rule: str, until_ns: int | None = None) -> None:
        """Note a rule that keeps it now, and until when."""
        self.rules.append(rule)
        if until_ns is None:
            self.endless = True
        else:
            self.until_ns = max(self.until_ns, until_ns)


def decide(
    candidates: Iterable[Candidate],
    policy: Policy | None,
    now_ns: int,
    last: RetentionTime | None = None,
    alarmed: Collection[ClientName] = (),
    hold: str | None = None,
) -> Plan:
    """Decide over all generations of one repository, those in the trash too.

    ``last``: the time of the plan before, ``None`` if there was none; ``alarmed``: clients of
    which everything is kept until somebody has looked; ``hold``: why nothing may be deleted.
    Without a policy everything is kept, and only the trash is emptied.
    """
    ordered = sorted(candidates, key=lambda each: each.sequence)
    standing = [each.received_ns for each in ordered if each.trashed_ns is None]
    step = advance(last, now_ns, max(standing, default=None))
    timed = _timed(ordered, now_ns)
    for each in timed:
        _keep_by_order(each, alarmed, hold, step.halted)
    by_client: dict[ClientName, list[_Timed]] = {}
    for each in timed:
        if each.candidate.trashed_ns is None:
            by_client.setdefault(each.candidate.client, []).append(each)
    for client, theirs in by_client.items():
        if policy is None:
            for each in theirs:
                each.keep("no policy")
        else:
            _keep_by_rules(theirs, policy.rules_of(client), step.time.time_ns)
    trash_ns = stays_in_trash_ns(policy)
    decisions = tuple(_decision(each, step.time.time_ns, trash_ns) for each in timed)
    return Plan(step.time, step.halted, decisions)


def stays_in_trash_ns(policy: Policy | None) -> int:
    """How long what is deleted can be had back, at least."""
    return (TRASH_DAYS_DEFAULT if policy is None else policy.trash_days) * DAY_NS


def _timed(ordered: Sequence[Candidate], now_ns: int) -> list[_Timed]:
    """Where the clock jumped nobody knows which receive times are wrong: there are two guesses.

    Both never go back, and what either of them keeps is kept. Generations in the trash count
    too, so that a deletion changes no other one's time; but for those from the future, which are
    wrong for sure, and which an administrator deleted for that.
    """
    trusted = [each for each in ordered if each.trashed_ns is None or each.received_ns <= now_ns]
    received = [each.received_ns for each in trusted]
    times = {
        each.sequence: both
        for each, both in zip(
            trusted, zip(not_before(received), not_after(received), strict=True), strict=True
        )
    }
    return [
        _Timed(each, *times.get(each.sequence, (each.received_ns, each.received_ns)))
        for each in ordered
    ]


def _keep_by_order(
    each: _Timed, alarmed: Collection[ClientName], hold: str | None, halted: str | None
) -> None:
    """Keep what somebody, or something that is wrong, demands, in the trash too."""
    if each.candidate.pinned is not None:
        each.keep(f"pinned: {each.candidate.pinned}")
    if hold is not None:
        each.keep(f"hold: {hold}")
    if each.candidate.client in alarmed:
        each.keep("alarm")
    trashed_ns = each.candidate.trashed_ns
    # Deleted before it was received: the clock was wrong then, and since when it is in the trash
    # is not known.
    if halted is not None or (trashed_ns is not None and trashed_ns < each.candidate.received_ns):
        each.keep("clock")


def _keep_by_rules(theirs: Sequence[_Timed], rules: Rules, time_ns: int) -> None:
    """Keep what the rules keep of one client's generations, given in order of sequence."""
    theirs[-1].keep("newest")
    complete = [each for each in theirs if not each.candidate.partial]
    count = _Count(complete, max(rules.minimum_age_ns, PUSHES_AFTER_NS), time_ns)
    # `newest` and `last` keep the very newest ones, however fast they came, and in addition as
    # many that lie apart: of these, a flood takes the place of a few only.
    count.keep_last("newest", rules.newest)
    count.keep_firsts("newest", PERIODS["daily"], rules.newest, labelled=False)
    count.keep_last("last", rules.last)
    count.keep_firsts("last", PERIODS["hourly"], rules.last, labelled=False)
    for rule, period in PERIODS.items():
        count.keep_firsts(rule, period, getattr(rules, rule))
    for each in complete:
        _keep_until(each, "within", each.upper_ns + rules.within_ns, time_ns)
    for each in theirs:
        _keep_until(each, "minimum age", each.upper_ns + rules.minimum_age_ns, time_ns)
        _keep_until(each, "not counted yet", each.upper_ns, time_ns)


def _keep_until(each: _Timed, rule: str, until_ns: int, time_ns: int) -> None:
    if time_ns < until_ns:
        each.keep(rule, until_ns)


@frozen
class _Count:
    """Rules that keep a number of one client's complete generations, in order of sequence."""

    complete: Sequence[_Timed]
    pushes_ns: int
    time_ns: int

    def keep_last(self, rule: str, number: int) -> None:
        """Keep the last ``number`` of them."""
        for place, until_ns in self._ends(self.complete, number):
            self.complete[place].keep(rule, until_ns)

    def keep_firsts(self, rule: str, period: Period, number: int, labelled: bool = True) -> None:
        """Keep the first of each of the last ``number`` periods that have one."""
        if not number:
            return
        upper = [each.upper_ns for each in self.complete]
        lower = [each.lower_ns for each in self.complete]
        for times in [upper] if upper == lower else [upper, lower]:
            numbers = [period.number(time_ns) for time_ns in times]
            places = [
                place
                for place, here in enumerate(numbers)
                if place == 0 or here != numbers[place - 1]
            ]
            firsts = [self.complete[place] for place in places]
            for place, until_ns in self._ends(firsts, number):
                label = f" {period.label(times[places[place]])}" if labelled else ""
                firsts[place].keep(rule + label, until_ns)

    def _ends(self, counted: Sequence[_Timed], number: int) -> Iterator[tuple[int, int | None]]:
        """The places of those that a rule which counts to ``number`` keeps now, and until when.

        That is when the one ``number`` places later is ``pushes_ns`` old, counted from the end of
        its day: until then younger ones are kept besides, and take nobody's place. By the end
        of its day, so that it does not matter which was the first in that day.
        """
        if not number:
            return
        for place in range(len(counted)):
            if place + number >= len(counted):
                yield place, None
                continue
            pusher_ns = counted[place + number].upper_ns
            until_ns = (pusher_ns // DAY_NS + 1) * DAY_NS + self.pushes_ns
            if self.time_ns < until_ns:
                yield place, until_ns


def _decision(each: _Timed, time_ns: int, trash_ns: int) -> Decision:
    rules = tuple(dict.fromkeys(each.rules))
    trashed_ns = each.candidate.trashed_ns
    if trashed_ns is None:
        if not rules:
            return Decision(each.candidate, Fate.GOES)
        return Decision(each.candidate, Fate.KEPT, rules, None if each.endless else each.until_ns)
    due_ns = trashed_ns + trash_ns
    if not rules and due_ns <= time_ns:
        return Decision(each.candidate, Fate.EXPUNGED)
    return Decision(each.candidate, Fate.TRASHED, rules, None if rules else due_ns)
