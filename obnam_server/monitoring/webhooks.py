"""Events to webhooks: ``POST``, signed, one after the other, tried again until they arrive.

Each event is queued on the disk first (on the thread of upkeep), so that neither a restart nor a
webhook that is down for a night loses it, and no client ever waits for one. Redirects are not
followed: a message goes where the administrator said, and nowhere else.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from obnam_server.monitoring.events import Event
from obnam_server.monitoring.webhook_settings import WebhookSettings
from obnam_server.store.event_queue import Delivery, EventQueue
from obnam_server.work import Work

log = Logger()

ANSWER_S = 30.0
"""A webhook that has not answered by then is taken to have failed."""

FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 3600.0
"""Between tries: twice as long each time, up to an hour."""

GIVE_UP_NS = 7 * 24 * 3600 * 1_000_000_000
"""An event this old is no news."""

ANSWER_MAX = 64 * 1024
"""Bytes of an answer that are read, and thrown away; a longer one is cut off."""


@define(eq=False)
class Webhook:
    """One webhook: its queue, emptied in order."""

    _settings: WebhookSettings
    _queue: EventQueue
    _work: Work
    _agent: IAgent
    _clock: IReactorTime
    _now_ns: Callable[[], int]
    _running: Deferred[None] | None = None
    _waiting: IDelayedCall | None = None
    _again: bool = False
    _stopped: bool = False

    @property
    def settings(self) -> WebhookSettings:
        """What it was made from."""
        return self._settings

    def wake(self) -> None:
        """There may be something to send."""
        if self._stopped:
            return
        if self._running is not None:
            self._again = True
            return
        if self._waiting is not None and self._waiting.active():
            return  # Those before it failed, and it is their turn first.
        self._running = Deferred.fromCoroutine(self._send_all())
        self._running.addErrback(self._failed)
        self._running.addCallback(self._ended)

    def stop(self) -> "Deferred[None]":
        """Send no more; what is under way is given up, and sent again after the next start."""
        self._stopped = True
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        running = self._running
        if running is None:
            return succeed(None)
        running.cancel()
        return running

    def _failed(self, failure: Failure) -> None:
        if not (self._stopped and failure.check(CancelledError)):
            log.failure("The queue of a webhook failed", failure=failure)

    def _ended(self, _: None) -> None:
        self._running = None
        if self._again:
            self._again = False
            self.wake()

    async def _send_all(self) -> None:
        while not self._stopped:
            delivery = await self._work.background(self._queue.first, self._settings.url)
            if delivery is None:
                return
            wait_s = (delivery.due_ns - self._now_ns()) / 1e9
            if wait_s > 0:
                # At most so long, whatever the clock said when it failed.
                self._waiting = self._clock.callLater(min(wait_s, LONGEST_WAIT_S), self.wake)
                return
            problem = await self._send(delivery)
            if self._stopped:
                return
            await self._note(delivery, problem)

    async def _note(self, delivery: Delivery, problem: str | None) -> None:
        now_ns = self._now_ns()
        if problem is None:
            await self._work.background(self._queue.done, delivery.number)
        elif now_ns - delivery.created_ns > GIVE_UP_NS:
            log.error("An event for a webhook is given up: {problem}", problem=problem)
            await self._work.background(self._queue.done, delivery.number)
        else:
            log.warn("A webhook does not take an event: {problem}", problem=problem)
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(delivery.tries, 20))
            due_ns = now_ns + round(wait_s * 1e9)
            await self._work.background(self._queue.failed, delivery.number, due_ns)

    async def _send(self, delivery: Delivery) -> str | None:
        """Send it once; what went wrong, if anything did."""
        sent = Deferred.fromCoroutine(self._post(delivery))
        sent.addTimeout(ANSWER_S, self._clock)
        try:
            status = await sent
        except Exception as error:
            # Whatever the network, TLS or the other end came up with: it is tried again.
            return f"{type(error).__name__}: {error}"
        return None if 200 <= status < 300 else f"HTTP status {status}"

    async def _post(self, delivery: Delivery) -> int:
        headers = Headers(
            {
                "Content-Type": ["application/json"],
                "User-Agent": ["obnam-server"],
                "Obnam-Delivery": [str(delivery.number)],
            }
        )
        if self._settings.secret is not None:
            headers.addRawHeader("Obnam-Signature", signature(self._settings.secret, delivery.body))
        response: IResponse = await self._agent.request(
            b"POST",
            self._settings.url.encode("ascii"),
            headers,
            _Body(delivery.body, len(delivery.body)),
        )
        ended: Deferred[None] = Deferred(lambda _: answer.cut())
        answer = _Thrown(ended)
        response.deliverBody(answer)
        await ended
        return int(response.code)


def signature(secret: bytes, body: bytes) -> str:
    """What the header ``Obnam-Signature`` says of a body."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


@define(eq=False)
class Webhooks:
    """All webhooks of a server."""

    _hooks: Sequence[Webhook]
    _queue: EventQueue
    _work: Work
    dropped: int = 0

    @classmethod
    def make(
        cls,
        settings: Sequence[WebhookSettings],
        queue: EventQueue,
        work: Work,
        agent: IAgent,
        clock: IReactorTime,
        now_ns: Callable[[], int],
    ) -> "Webhooks":
        """Webhooks with these settings. ``now_ns``: ns since the epoch."""
        hooks = [Webhook(each, queue, work, agent, clock, now_ns) for each in settings]
        return cls(hooks, queue, work)

    def start(self) -> None:
        """Send what is left from before."""
        urls = [hook.settings.url for hook in self._hooks]
        self._work.background(self._queue.keep_only, urls).addCallbacks(self._wake, _lost)

    def take(self, event: Event) -> None:
        """Queue an event; a listener of `obnam_server.monitoring.events.Events`."""
        urls = [h.settings.url for h in self._hooks if event.kind in h.settings.kinds]
        if urls:
            body = json.dumps(event.to_json()).encode("ascii")
            queued = self._work.background(self._queue.add, urls, body, event.at_ns)
            queued.addCallbacks(self._queued, _lost)

    async def stop(self) -> None:
        """Stop sending, and close the queue."""
        await gatherResults([hook.stop() for hook in self._hooks])
        await self._work.background(self._queue.close)

    def _queued(self, dropped: int) -> None:
        self.dropped += dropped
        if dropped:
            log.warn("Webhooks are too far behind: {dropped} events dropped", dropped=dropped)
        self._wake(None)

    def _wake(self, _: None) -> None:
        for hook in self._hooks:
            hook.wake()


def _lost(failure: Failure) -> None:
    log.failure("An event could not be queued for its webhooks", failure=failure)


class _Thrown(Protocol):
    """Reads an answer to its end, or to `ANSWER_MAX`, and forgets it."""

    def __init__(self, ended: "Deferred[None]") -> None:
        self._ended = ended
        self._left = ANSWER_MAX

    def dataReceived(self, data: bytes) -> None:
        """A piece of it."""
        self._left -= len(data)
        if self._left < 0:
            self.cut()

    def cut(self) -> None:
        """No more of it."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over; what it said does not matter, the status has come."""
        ended, self._ended = self._ended, Deferred()
        if not ended.called:
            ended.callback(None)


@implementer(IBodyProducer)
@define(eq=False)
class _Body:
    """A small body, sent in one piece."""

    _content: bytes
    length: int

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """See `IBodyProducer`."""
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """See `IBodyProducer`."""

    def resumeProducing(self) -> None:
        """See `IBodyProducer`."""

    def stopProducing(self) -> None:
        """See `IBodyProducer`."""
