"""What happens that somebody should hear of: to the log, the metrics, and to webhooks.

Made on the reactor's thread. Nothing here waits or fails: who hears of an event queues it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger

from obnam.model.ids import ClientName, GenerationId, RepositoryName
from obnam_server.monitoring.event_kinds import USUAL, Kind

log = Logger()

REPEAT_NS = 24 * 3600 * 1_000_000_000
"""What goes on (a full repository, a missed backup) is told again after a day."""

REMEMBERED_MAX = 10_000
"""Events remembered in order not to repeat them; beyond, the oldest are forgotten first."""


@frozen
class Event:
    """One event. ``at_ns``: since the epoch; ``text``: one line for people."""

    kind: Kind
    at_ns: int
    text: str
    repository: RepositoryName | None = None
    client: ClientName | None = None
    generation: GenerationId | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "event": self.kind.value,
            "at_ns": self.at_ns,
            "text": self.text,
            "repository": self.repository,
            "client": self.client,
            "generation": self.generation,
        }


_Key = tuple[Kind, RepositoryName | None, ClientName | None, GenerationId | None]


@define(eq=False)
class Events:
    """Where events are announced. ``counts``: how many of each kind there were."""

    _now_ns: Callable[[], int]
    counts: Counter[Kind] = field(factory=Counter)
    _listeners: list[Callable[[Event], None]] = field(factory=list)
    _told_ns: dict[_Key, int] = field(factory=dict)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have ``listener`` called with each event from now on. It must not raise."""
        self._listeners.append(listener)

    def announce(
        self,
        kind: Kind,
        text: str,
        *,
        repository: RepositoryName | None = None,
        client: ClientName | None = None,
        generation: GenerationId | None = None,
    ) -> None:
        """Tell everybody."""
        event = Event(kind, self._now_ns(), text, repository, client, generation)
        self.counts[kind] += 1
        if kind in USUAL:
            log.warn(
                "{kind}: repository {repository}, client {client}: {text}",
                kind=kind.value,
                repository=repository,
                client=client,
                text=text,
            )
        for listener in self._listeners:
            listener(event)

    def announce_seldom(
        self,
        kind: Kind,
        text: str,
        *,
        repository: RepositoryName | None = None,
        client: ClientName | None = None,
        generation: GenerationId | None = None,
    ) -> None:
        """The same, unless the like was told within `REPEAT_NS`. A restart forgets that it was."""
        now_ns, key = self._now_ns(), (kind, repository, client, generation)
        told_ns = self._told_ns.get(key)
        if told_ns is not None and 0 <= now_ns - told_ns < REPEAT_NS:
            return
        self._told_ns.pop(key, None)
        self._told_ns[key] = now_ns
        if len(self._told_ns) > REMEMBERED_MAX:
            del self._told_ns[next(iter(self._told_ns))]
        self.announce(kind, text, repository=repository, client=client, generation=generation)

    def over(
        self, kind: Kind, repository: RepositoryName | None, client: ClientName | None = None
    ) -> None:
        """It does not go on any more: should it begin again, that is told at once."""
        self._told_ns.pop((kind, repository, client, None), None)
