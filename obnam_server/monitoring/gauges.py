"""Metrics of repositories and clients: what `watch` saw last, events, upkeep.

The number of series is bounded: those of `REPOSITORIES_MAX` repositories and `CLIENTS_MAX` clients
are shown, and how many are not.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from obnam.model.ids import RepositoryName
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.events import Events
from obnam_server.store.figures import SECOND_NS, ClientFigures, RepositoryFigures
from obnam_server.upkeep.compact import Compacted
from obnam_server.upkeep.rounds import TaskState

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

REPOSITORIES_MAX = 2000
CLIENTS_MAX = 5000
"""About 12 series each repository, and 3 each client."""


@define
class UpkeepFigures:
    """What upkeep tells of itself, as it goes on.

    ``compactions``: the latest of each repository. ``progress``: how far any other task (``scrub``,
    say) is with a repository, from 0 to 1.
    """

    compactions: dict[RepositoryName, Compacted] = field(factory=dict)
    progress: dict[tuple[RepositoryName, str], float] = field(factory=dict)


@frozen
class Gauges:
    """A source of metrics for `obnam_server.monitoring.metrics.Counters`."""

    _figures: Mapping[RepositoryName, RepositoryFigures]
    _upkeep: UpkeepFigures
    _states: Mapping[tuple[RepositoryName, str], TaskState]
    _events: Events

    def __call__(self, only: RepositoryName | None) -> "Iterator[Metric]":
        """All metrics; ``only``: of no other repository than this."""
        chosen = [
            self._figures[name] for name in sorted(self._figures) if only is None or name == only
        ]
        shown = chosen[:REPOSITORIES_MAX]
        clients = [(each.name, client) for each in shown for client in each.clients]
        names = {each.name for each in shown}
        yield from _of_events(self._events)
        yield from _of_repositories(shown)
        yield from _of_clients(list(islice(clients, CLIENTS_MAX)))
        yield from _of_upkeep(self._upkeep, shown)
        yield from _of_tasks({key: each for key, each in self._states.items() if key[0] in names})
        hidden = len(chosen) - len(shown) + max(0, len(clients) - CLIENTS_MAX)
        yield _gauge("not_shown", "Repositories and clients beyond the limit", [((), hidden)])


def _of_events(events: Events) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily("obnam_server_events", "Events announced", labels=("kind",))
    for kind in Kind:
        family.add_metric((kind.value,), events.counts[kind])
    yield family


def _of_repositories(shown: Sequence[RepositoryFigures]) -> "Iterator[Metric]":
    def of(name: str, text: str, values: Sequence[float | None]) -> "Metric":
        rows = [
            ((each.name,), value)
            for each, value in zip(shown, values, strict=True)
            if value is not None
        ]
        return _gauge(f"repository_{name}", text, rows, "repository")

    yield of("stored_bytes", "Size of all segments", [each.quota.used_bytes for each in shown])
    yield of("quota_bytes", "The quota, if there is one", [e.quota.quota_bytes for e in shown])
    yield of("generations", "Generations, without the trash", [e.generation_count for e in shown])
    yield of("trash_generations", "Generations in the trash", [e.trash_count for e in shown])
    yield of(
        "damaged_chunks", "Chunks damaged or lost", [each.damaged_chunk_count for each in shown]
    )
    yield of("sessions", "Backups that are running", [each.session_count for each in shown])


def _of_clients(clients: Sequence[tuple[RepositoryName, ClientFigures]]) -> "Iterator[Metric]":
    labels = ("repository", "client")
    yield _gauge(
        "client_last_good_generation_timestamp_seconds",
        "When the client's newest generation that is no checkpoint was committed",
        [
            ((name, client.name), client.last_good_ns / SECOND_NS)
            for name, client in clients
            if client.last_good_ns is not None
        ],
        *labels,
    )
    yield _gauge(
        "client_alarm",
        "1: an unusual generation waits to be looked at",
        [((name, client.name), client.alarm) for name, client in clients],
        *labels,
    )
    yield _gauge(
        "client_backup_missed",
        "1: the last good generation is older than was set",
        [((name, client.name), client.missed) for name, client in clients],
        *labels,
    )


def _of_upkeep(upkeep: UpkeepFigures, shown: Sequence[RepositoryFigures]) -> "Iterator[Metric]":
    names = {each.name for each in shown}
    running = [
        (each.name, upkeep.compactions[each.name], each.quota.used_bytes)
        for each in shown
        if each.name in upkeep.compactions
    ]
    yield _gauge(
        "repository_dead_share",
        "Share of the segments' bytes that nothing needs, from 0 to 1",
        [
            ((name,), min(1.0, max(0, each.dead_bytes - each.freed_bytes) / max(1, used_bytes)))
            for name, each, used_bytes in running
        ],
        "repository",
    )
    progress = {
        (name, "compaction"): (each.done + each.left) / each.groups if each.groups else 1.0
        for name, each, _ in running
    }
    progress |= {key: value for key, value in upkeep.progress.items() if key[0] in names}
    yield _gauge(
        "upkeep_progress",
        "How far a task is with the repository, from 0 to 1",
        list(progress.items()),
        "repository",
        "task",
    )


def _of_tasks(states: Mapping[tuple[RepositoryName, str], TaskState]) -> "Iterator[Metric]":
    labels = ("repository", "task")
    yield _gauge(
        "upkeep_last_success_timestamp_seconds",
        "When a task last came to a good end",
        [(key, each.done_ns / SECOND_NS) for key, each in states.items() if each.done_ns],
        *labels,
    )
    yield _gauge(
        "upkeep_failed",
        "1: a task failed when it ran last",
        [(key, bool(each.problem)) for key, each in states.items()],
        *labels,
    )
    yield _gauge(
        "upkeep_waits_until_timestamp_seconds",
        "Until when a task waits at the latest for backups from before a restart; 0: it does not",
        [(key, each.waits_until_ns / SECOND_NS) for key, each in states.items()],
        *labels,
    )


def _gauge(
    name: str, text: str, rows: Sequence[tuple[Sequence[str], float]], *labels: str
) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"obnam_server_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family
