"""What the server counts, and how Prometheus reads it."""

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.web.resource import Resource
from twisted.web.server import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE")


@define
class Counters:
    """Plain numbers, cheap to count; turned into Prometheus' form only when asked for."""

    answers: Counter[tuple[str, int]] = field(factory=Counter)
    received_bytes: int = 0
    sent_bytes: int = 0

    def answered(self, method: bytes, status: int) -> None:
        """One answer. Methods that nobody should use count as one, so that labels are few."""
        name = method.decode("ascii") if method in _METHODS else "other"
        self.answers[name, status] += 1

    def exposition(self) -> bytes:
        """The counters in Prometheus' text format."""
        # Imported here: a tenth of a second that only servers with Prometheus need.
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self))
        return bytes(generate_latest(registry))


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

    def collect(self) -> "Iterator[Metric]":
        """What Prometheus' registry asks for."""
        from prometheus_client.core import CounterMetricFamily

        answers = CounterMetricFamily(
            "obnam_server_answers", "HTTP answers given", labels=("method", "status")
        )
        for (method, status), count in sorted(self._counters.answers.items()):
            answers.add_metric((method, str(status)), count)
        yield answers
        yield CounterMetricFamily(
            "obnam_server_received_bytes",
            "Bytes of sealed chunks received and stored",
            value=self._counters.received_bytes,
        )
        yield CounterMetricFamily(
            "obnam_server_sent_bytes",
            "Bytes of sealed chunks sent",
            value=self._counters.sent_bytes,
        )
