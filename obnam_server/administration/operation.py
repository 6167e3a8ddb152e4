"""What an operation of the administration is: a name, a plain function, and how it is run."""

from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from obnam.wire import members
from obnam.wire.members import BadMessage, Json
from obnam_server.store.store import Store
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work

T = TypeVar("T")

LIST_MAX = 1000
"""Entries of a list in the arguments: more than anybody types."""


class Access(Enum):
    """What an operation does to the store, and so where it may run."""

    READ = "read"
    """Looks only, and opens no repository: on any thread."""
    OPEN = "open"
    """Looks only, but may have to open a repository for it: WRITER."""
    CHANGE = "change"
    """Changes something: WRITER. The audit log says so before it is done."""


@frozen
class Arguments:
    """What an operation was given, checked when it is asked for: `BadMessage`.

    ``administrator``: the user id of who asks.
    """

    values: Json
    administrator: int

    @property
    def by(self) -> str:
        """Who asks, in words, for what remembers who decided it."""
        return f"administrator (user {self.administrator})"

    def text(self, name: str) -> str:
        """A text."""
        return members.text(self.values, name)

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        """A text that ``parse`` accepts."""
        return members.parsed(self.values, name, parse)

    def optional(self, name: str, parse: Callable[[str], T]) -> T | None:
        """The same, or nothing."""
        return None if self.values.get(name) is None else self.parsed(name, parse)

    def number(self, name: str, low: int = 0, high: int = 2**63 - 1) -> int:
        """A whole number from ``low`` to ``high``."""
        return members.number(self.values, name, low, high)

    def flag(self, name: str) -> bool:
        """True or false; false when it is not there."""
        return name in self.values and members.flag(self.values, name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found = members.member(self.values, name)
        if not isinstance(found, list) or len(found) > LIST_MAX:
            raise BadMessage(f"{name!r} must be a list of at most {LIST_MAX}")
        return tuple(members.text({name: each}, name) for each in found)


@frozen
class Operation:
    """Something that can be asked for by ``name``.

    ``run`` blocks, gives what ``json.dumps`` takes, and raises `obnam.errors.ObnamError` for what
    is foreseen. ``afterwards`` is run when ``run`` went well, in the background: work that takes
    long and that nobody waits for.
    """

    name: str
    run: Callable[[Store, Arguments], Json]
    access: Access
    afterwards: Callable[[Store], None] | None = None


@frozen
class LongOperation:
    """One that takes its time, step by step, beside all that goes on: on no thread of its own."""

    name: str
    run: Callable[[Store, Work, Pace, Arguments], Coroutine[Deferred[Any], Any, Json]]
    access: Access


AnyOperation = Operation | LongOperation
