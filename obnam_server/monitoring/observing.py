"""Watching over the server, put together: events, webhooks, the watch, metrics."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import define
from twisted.internet.base import ReactorBase

from obnam.model.ids import RepositoryName
from obnam_server.monitoring.events import Events
from obnam_server.monitoring.gauges import Gauges, UpkeepFigures
from obnam_server.monitoring.metrics import Counters
from obnam_server.monitoring.watch import Watch
from obnam_server.monitoring.webhook_settings import WebhookSettings
from obnam_server.monitoring.webhooks import ANSWER_S, Webhooks
from obnam_server.store.event_queue import EventQueue
from obnam_server.store.store import Store
from obnam_server.upkeep.rounds import TaskState
from obnam_server.work import Work


@define(eq=False)
class Observation:
    """What watches over a running server."""

    _watch: Watch
    _webhooks: Webhooks | None

    @classmethod
    def begin(
        cls,
        store: Store,
        work: Work,
        events: Events,
        counters: Counters,
        upkeep: UpkeepFigures,
        states: Mapping[tuple[RepositoryName, str], TaskState],
        webhooks: Webhooks | None,
        reactor: ReactorBase,
        now_ns: Callable[[], int],
    ) -> "Observation":
        """Begin to watch. ``upkeep``, ``states``: how far its tasks are, and how they went."""
        watch = Watch(store, work, events, reactor, now_ns, states)
        counters.depths = work.depths
        counters.add_source(Gauges(watch.figures, upkeep, states, events))
        if webhooks is not None:
            events.listen(webhooks.take)
            webhooks.start()
        watch.start()
        return cls(watch, webhooks)

    async def stop_looking(self) -> None:
        """The server is about to stop."""
        await self._watch.stop()

    async def stop(self) -> None:
        """Nothing happens any more."""
        if self._webhooks is not None:
            await self._webhooks.stop()


def webhooks_of(
    settings: Sequence[WebhookSettings],
    data_directory: Path,
    work: Work,
    reactor: ReactorBase,
    now_ns: Callable[[], int],
) -> Webhooks | None:
    """The webhooks of the configuration, if there are any. Blocks. `StoreFailed`, `StoreFull`."""
    if not settings:
        return None
    # Only now: an embedded server has none, and starts without an HTTP client.
    from twisted.web.client import Agent

    # It follows no redirects, and opens a connection for each request.
    agent = Agent(reactor, connectTimeout=ANSWER_S)
    queue = EventQueue.open(data_directory.absolute())
    return Webhooks.make(settings, queue, work, agent, reactor, now_ns)
