"""What the server counts, and how Prometheus reads it.

What concerns the whole server is here; what has a repository's name is in `gauges`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.web.resource import Resource
from twisted.web.server import Request

from obnam.model.ids import RepositoryName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE")

NO_ROUTE = "none"
"""Stands for all requests of things that there are not, so that nobody can invent labels."""

BUCKETS_S = (0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds, from a look into the index to a body over a slow line."""

Source = Callable[[RepositoryName | None], "Iterable[Metric]"]
"""Gives more metrics: of one repository, or of all (``None``)."""


@define
class Histogram:
    """How often something took how long; ``buckets``: by the first bound that it did not exceed."""

    sum_s: float = 0.0
    buckets: list[int] = field(factory=lambda: [0] * (len(BUCKETS_S) + 1))

    def observe(self, duration_s: float) -> None:
        """One more."""
        self.sum_s += duration_s
        self.buckets[bisect_left(BUCKETS_S, duration_s)] += 1

    def cumulated(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all that were quicker."""
        total, found = 0, []
        for bound, count in zip((*BUCKETS_S, float("inf")), self.buckets, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return found


@define
class Counters:
    """Plain numbers, cheap to count; turned into Prometheus' form only when asked for.

    ``depths``: how many calls wait or run, by pool. ``workers``: the processes that run.
    """

    answers: Counter[tuple[str, int]] = field(factory=Counter)
    durations: dict[tuple[str, int], Histogram] = field(factory=dict)
    received_bytes: int = 0
    sent_bytes: int = 0
    depths: Mapping[str, int] = field(factory=dict)
    connections: Callable[[], int] = lambda: 0
    uploads: Callable[[], int] = lambda: 0
    workers: Callable[[], list[int]] = list
    _sources: list[Source] = field(factory=list)

    def add_source(self, source: Source) -> None:
        """Ask ``source``, too, whenever metrics are asked for."""
        self._sources.append(source)

    def answered(self, method: bytes, status: int) -> None:
        """One answer. Methods that nobody should use count as one, so that labels are few."""
        name = method.decode("ascii") if method in _METHODS else "other"
        self.answers[name, status] += 1

    def took(self, route: str, status: int, duration_s: float) -> None:
        """A request was answered, its body and the answer included."""
        self.durations.setdefault((route, status), Histogram()).observe(duration_s)

    def exposition(self, only: RepositoryName | None = None) -> bytes:
        """All metrics in Prometheus' text format; ``only``: of no other repository than this."""
        # Imported here: a tenth of a second that only servers with Prometheus need.
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self, only))
        return bytes(generate_latest(registry))

    def more(self, only: RepositoryName | None) -> "Iterator[Metric]":
        """What the other sources give."""
        for source in self._sources:
            yield from source(only)


class MetricsPage(Resource):
    """``GET`` on the listener of its own that ``metrics_listen`` names."""

    isLeaf = True

    def __init__(self, counters: Counters) -> None:
        super().__init__()
        self._counters = counters

    def render_GET(self, request: Request) -> bytes:
        """The counters."""
        request.setHeader(b"Content-Type", CONTENT_TYPE.encode("ascii"))
        return self._counters.exposition()


@define(eq=False)
class _Collector:
    _counters: Counters
    _only: RepositoryName | None

    def collect(self) -> "Iterator[Metric]":
        """What Prometheus' registry asks for."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        counters = self._counters
        answers = CounterMetricFamily(
            "obnam_server_answers", "HTTP answers given", labels=("method", "status")
        )
        for (method, status), count in sorted(counters.answers.items()):
            answers.add_metric((method, str(status)), count)
        yield answers
        durations = HistogramMetricFamily(
            "obnam_server_request_duration_seconds",
            "From the headers of a request to the end of its answer",
            labels=("route", "status"),
        )
        for (route, status), took in sorted(counters.durations.items()):
            durations.add_metric((route, str(status)), took.cumulated(), took.sum_s)
        yield durations
        yield CounterMetricFamily(
            "obnam_server_received_bytes",
            "Bytes of sealed chunks received and stored",
            value=counters.received_bytes,
        )
        yield CounterMetricFamily(
            "obnam_server_sent_bytes",
            "Bytes of sealed chunks sent",
            value=counters.sent_bytes,
        )
        depth = GaugeMetricFamily(
            "obnam_server_queue_depth", "Calls that wait for a thread, or run", labels=("pool",)
        )
        for pool, waiting in sorted(counters.depths.items()):
            depth.add_metric((pool,), waiting)
        yield depth
        yield GaugeMetricFamily(
            "obnam_server_connections", "Connections that are open", value=counters.connections()
        )
        yield GaugeMetricFamily(
            "obnam_server_workers", "Worker processes that run", value=len(counters.workers())
        )
        yield GaugeMetricFamily(
            "obnam_server_uploads", "Bodies that are being received", value=counters.uploads()
        )
        yield from counters.more(self._only)
