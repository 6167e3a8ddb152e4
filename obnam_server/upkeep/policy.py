"""A repository's retention policy: frozen values, and JSON to and from them. Pure.

Whatever is wrong with one is one line that names the key and what to do.
See ``docs/operations/retention.md``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve, frozen

from obnam.errors import UsageError
from obnam.model.ids import ClientName, parse_client_name

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS

NEWEST_DEFAULT = 3
MINIMUM_AGE_DEFAULT_NS = 7 * DAY_NS
"""Time to notice that something is wrong before the first generation goes."""

TRASH_DAYS_DEFAULT = 30
TRASH_DAYS_MAX = 3650

COUNT_MAX = 100_000
"""The most that a rule may count: more than eleven years of hours."""

DURATION_MAX_NS = 100 * 365 * DAY_NS
"""100 years: any sum of such a duration and a time of our days fits into 64 bits."""

COUNTING = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
"""Rules that keep a number of generations."""

_AGES = {"within": "within_ns", "minimum_age": "minimum_age_ns"}
_RULES = (*COUNTING, *_AGES, "newest")
_KEYS = (*_RULES, "trash_days", "clients")

_DURATION = re.compile(r"([0-9]{1,12})([smhdwy])")
_UNITS_NS = {
    "y": 365 * DAY_NS,
    "w": 7 * DAY_NS,
    "d": DAY_NS,
    "h": HOUR_NS,
    "m": 60 * SECOND_NS,
    "s": SECOND_NS,
}


@define(eq=False)
class PolicyRefused(UsageError):
    """A retention policy that cannot be followed. ``key``: where in it, ``""``: the whole."""

    key: str
    problem: str

    def __str__(self) -> str:
        return f"retention policy: {self.key}{': ' if self.key else ''}{self.problem}"


@frozen
class Rules:
    """What is kept of one client; any rule that keeps a generation keeps it.

    The first six are numbers of generations, 0: the rule keeps nothing. ``within_ns`` and
    ``minimum_age_ns`` are ages by the server's receive time (ns).
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within_ns: int = 0
    minimum_age_ns: int = MINIMUM_AGE_DEFAULT_NS
    newest: int = NEWEST_DEFAULT

    @property
    def keeps_history(self) -> bool:
        """Whether any rule keeps more than the newest and the youngest."""
        return self.within_ns > 0 or any(getattr(self, rule) for rule in COUNTING)


Changes = tuple[tuple[str, int], ...]
"""Fields of `Rules` that a client has otherwise than its repository, and their values."""


@frozen
class Policy:
    """The policy of a repository. ``clients``: what some have otherwise, sorted by name."""

    rules: Rules
    trash_days: int = TRASH_DAYS_DEFAULT
    clients: tuple[tuple[ClientName, Changes], ...] = ()

    def rules_of(self, client: ClientName) -> Rules:
        """The repository's rules, with what this client has otherwise."""
        for name, changes in self.clients:
            if name == client:
                return evolve(self.rules, **dict(changes))
        return self.rules

    def to_json(self) -> dict[str, Any]:
        """As JSON; `parse_policy` makes the same policy of it."""
        fields = {rule: getattr(self.rules, _AGES.get(rule, rule)) for rule in _RULES}
        by_field = {_AGES.get(rule, rule): rule for rule in _RULES}
        document: dict[str, Any] = {
            rule: _shown(rule, value)
            for rule, value in fields.items()
            if value or rule not in (*COUNTING, "within")
        }
        document["trash_days"] = self.trash_days
        if self.clients:
            document["clients"] = {
                name: {by_field[key]: _shown(by_field[key], value) for key, value in changes}
                for name, changes in self.clients
            }
        return document


def read_policy(text: str) -> Policy | None:
    """A policy from JSON text; ``null`` is none: everything is kept. Raises `PolicyRefused`."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PolicyRefused("", f"is not JSON ({error}); write it like {_EXAMPLE}") from error
    return parse_policy(document)


def parse_policy(document: object) -> Policy | None:
    """Check a policy that was JSON; ``None``: there is none. Raises `PolicyRefused`."""
    if document is None:
        return None
    found = _mapping("", document, _KEYS)
    rules = evolve(Rules(), **dict(_changes("", found)))
    if not rules.keeps_history:
        raise _keeps_nothing("")
    trash_days = TRASH_DAYS_DEFAULT
    if "trash_days" in found:
        trash_days = _count("trash_days", found["trash_days"], 1, TRASH_DAYS_MAX)
    policy = Policy(rules, trash_days, tuple(sorted(_clients(found.get("clients", {})))))
    for name, _ in policy.clients:
        if not policy.rules_of(name).keeps_history:
            raise _keeps_nothing(f"clients.{name}")
    return policy


_EXAMPLE = '{"daily": 14, "weekly": 8, "monthly": 12}'


def _keeps_nothing(where: str) -> PolicyRefused:
    return PolicyRefused(
        where,
        f"would keep nothing but the newest generations; give one of {', '.join(COUNTING)} "
        "(at least 1) or within; null as the whole policy keeps everything",
    )


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A key that is there twice would have one value, the last: which is meant?"""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise PolicyRefused(ascii(key), "is there twice; write it once")
        found[key] = value
    return found


def _mapping(where: str, value: object, keys: Sequence[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise PolicyRefused(where, f"must be a mapping like {_EXAMPLE}, or null for none")
    for key in value:
        if key not in keys:
            path = f"{where}.{key!a}" if where else f"{key!a}"
            raise PolicyRefused(path, f"unknown key; the known keys are {', '.join(keys)}")
    return value


def _clients(value: object) -> list[tuple[ClientName, Changes]]:
    if not isinstance(value, dict):
        raise PolicyRefused("clients", "must be a mapping from names of clients to their rules")
    found = []
    for name, rules in value.items():
        try:
            client = parse_client_name(name)
        except (ValueError, TypeError) as error:
            raise PolicyRefused(f"clients.{name!a}", f"no name of a client: {error}") from error
        where = f"clients.{client}"
        if not isinstance(rules, dict):
            raise PolicyRefused(
                where,
                'must be a mapping like {"daily": 30}; without it, the client has '
                "the rules of the repository",
            )
        found.append((client, _changes(where, _mapping(where, rules, _RULES))))
    return found


def _changes(where: str, found: Mapping[str, object]) -> Changes:
    """The rules given in ``found``, checked, in the order of `Rules`."""
    changes = []
    for rule in _RULES:
        if rule not in found:
            continue
        path = f"{where}.{rule}" if where else rule
        if rule in _AGES:
            changes.append((_AGES[rule], _duration_ns(path, found[rule])))
        else:
            least = 1 if rule == "newest" else 0
            changes.append((rule, _count(path, found[rule], least, COUNT_MAX)))
    return tuple(changes)


def _count(path: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PolicyRefused(path, f"must be a whole number from {least} to {most}")
    return value


def _duration_ns(path: str, value: object) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    duration_ns = int(match[1]) * _UNITS_NS[match[2]] if match else DURATION_MAX_NS + 1
    if duration_ns > DURATION_MAX_NS:
        raise PolicyRefused(
            path,
            'must be a duration of at most 100 years like "30d"; the units are s, m, h, d, w, y',
        )
    return duration_ns


def _shown(rule: str, value: int) -> int | str:
    """A rule's value as JSON has it; a duration in the largest unit that fits."""
    if rule not in _AGES:
        return value
    if value == 0:
        return "0d"
    unit = next(unit for unit, unit_ns in _UNITS_NS.items() if value % unit_ns == 0)
    return f"{value // _UNITS_NS[unit]}{unit}"
