"""Events to webhooks: they arrive, in order, signed, whatever happens on the way."""

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.monitoring.event_kinds import USUAL, Kind
from obnam_server.monitoring.events import REPEAT_NS, Event, Events
from obnam_server.monitoring.webhook_settings import WebhookSettings
from obnam_server.monitoring.webhooks import ANSWER_S, GIVE_UP_NS, LONGEST_WAIT_S, Webhooks
from obnam_server.store.event_queue import WAITING_MAX, EventQueue
from tests.support.server_in_memory import WorkByHand

URL = "https://hooks.example.org/obnam"
SECRET = b"a secret that is long enough"
HOME, LAPTOP = RepositoryName("home"), ClientName("laptop")


@define(eq=False)
class Response:
    """An answer of a webhook."""

    code: int
    ends: bool = True
    transport: Any = None

    def deliverBody(self, protocol: Any) -> None:  # noqa: N802
        self.transport = StringTransport()  # type: ignore[no-untyped-call]
        protocol.makeConnection(self.transport)
        protocol.dataReceived(b"thank you")
        if self.ends:
            protocol.connectionLost(Failure(ResponseDone()))  # type: ignore[no-untyped-call]


@implementer(IAgent)
@define(eq=False)
class Agent:
    """The network: answers what it is told to; ``None``: not at all."""

    answers: deque[int | Exception | None] = field(factory=deque)
    asked: list[tuple[str, Headers, bytes]] = field(factory=list)
    waiting: list[Deferred[Any]] = field(factory=list)
    ends: bool = True

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,  # noqa: N803
    ) -> Deferred[Any]:
        assert method == b"POST"
        assert IBodyProducer.providedBy(bodyProducer)
        transport: Any = StringTransport()  # type: ignore[no-untyped-call]
        cast(Any, bodyProducer).startProducing(transport)
        body = transport.value()
        assert len(body) == bodyProducer.length
        assert headers is not None
        self.asked.append((uri.decode(), headers, body))
        answer = self.answers.popleft() if self.answers else 204
        done: Deferred[Any] = Deferred()
        if isinstance(answer, Exception):
            done.errback(answer)
        elif answer is None:
            self.waiting.append(done)
        else:
            done.callback(Response(answer, self.ends))
        return done

    def texts(self) -> list[str]:
        """The texts of all events that came."""
        return [json.loads(body)["text"] for _, _, body in self.asked]


@define(eq=False)
class Case:
    """A server's webhooks, and time by hand."""

    folder: Path
    settings: list[WebhookSettings] = field(factory=lambda: [WebhookSettings(URL, USUAL, SECRET)])
    clock: Clock = field(factory=Clock)
    agent: Agent = field(factory=Agent)
    work: WorkByHand = field(init=False)
    hooks: Webhooks = field(init=False)
    events: Events = field(init=False)

    def now_ns(self) -> int:
        return round(self.clock.seconds() * 1e9)

    def start(self) -> None:
        self.work = WorkByHand(self.clock)  # type: ignore[arg-type]
        queue = EventQueue.open(self.folder)
        self.hooks = Webhooks.make(
            self.settings, queue, self.work, self.agent, self.clock, self.now_ns
        )
        self.events = Events(self.now_ns)
        self.events.listen(self.hooks.take)
        self.hooks.start()
        self.work.do_all()

    def stop(self) -> None:
        stopped = Deferred.fromCoroutine(self.hooks.stop())
        self.work.do_all()
        assert stopped.called

    def announce(self, text: str, kind: Kind = Kind.DAMAGE) -> None:
        self.events.announce(kind, text, repository=HOME, client=LAPTOP)
        self.work.do_all()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.work.do_all()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    case.start()
    yield case
    case.stop()
    assert case.clock.getDelayedCalls() == []


def test_an_event_arrives_signed(case: Case) -> None:
    case.announce("3 chunks are damaged")
    ((url, headers, body),) = case.agent.asked
    assert url == URL
    assert json.loads(body) == {
        "event": "damage",
        "at_ns": 0,
        "text": "3 chunks are damaged",
        "repository": "home",
        "client": "laptop",
        "generation": None,
    }
    signed = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    assert headers.getRawHeaders("Obnam-Signature") == [signed]
    assert headers.getRawHeaders("Content-Type") == ["application/json"]
    case.advance(LONGEST_WAIT_S)
    assert len(case.agent.asked) == 1


def test_only_the_kinds_that_were_asked_for(tmp_path: Path) -> None:
    commits = WebhookSettings("https://commits.example.org", frozenset({Kind.COMMIT}))
    case = Case(tmp_path, [WebhookSettings(URL), commits])
    case.start()
    case.announce("a commit", Kind.COMMIT)
    case.announce("an anomaly", Kind.ANOMALY)
    assert [url for url, _, _ in case.agent.asked] == [commits.url, URL]
    assert case.agent.texts() == ["a commit", "an anomaly"]
    assert case.agent.asked[0][1].getRawHeaders("Obnam-Signature") is None
    case.stop()


@pytest.mark.parametrize("answer", [500, 404, 301, OSError("nobody there")])
def test_one_that_fails_is_tried_again_with_growing_waits(
    case: Case, answer: int | Exception
) -> None:
    case.agent.answers.extend([answer] * 12)
    case.announce("first")
    case.announce("second")
    times = [0.0]
    while len(case.agent.asked) < 12:
        before = len(case.agent.asked)
        case.advance(1)
        if len(case.agent.asked) > before:
            times.append(case.clock.seconds())
    assert case.agent.texts() == ["first"] * 12
    waits = [round(b - a) for a, b in pairwise(times)]
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    case.advance(3600)
    assert case.agent.texts()[12:] == ["first", "second"]


def test_what_waits_survives_a_restart(case: Case) -> None:
    case.agent.answers.extend([500, None])
    case.announce("first")
    case.advance(10)
    assert len(case.agent.waiting) == 1  # the second try is under way
    case.announce("second")
    case.stop()
    case.start()
    assert case.agent.texts() == ["first", "first", "first", "second"]


def test_a_webhook_that_is_gone_is_forgotten(case: Case) -> None:
    case.agent.answers.append(500)
    case.announce("first")
    case.stop()
    case.settings = [WebhookSettings("https://new.example.org")]
    case.start()
    case.stop()
    case.settings = [WebhookSettings(URL)]
    case.start()
    assert case.agent.texts() == ["first"]


def test_silence_is_a_failure(case: Case) -> None:
    case.agent.answers.append(None)
    case.announce("first")
    case.advance(ANSWER_S)
    assert len(case.agent.asked) == 1
    case.advance(10)
    assert case.agent.texts() == ["first", "first"]


def test_an_answer_without_end_is_a_failure(case: Case) -> None:
    case.agent.ends = False
    case.announce("first")
    case.advance(ANSWER_S)
    case.agent.ends = True
    case.advance(10)
    assert case.agent.texts() == ["first", "first"]
    case.advance(LONGEST_WAIT_S)
    assert len(case.agent.asked) == 2


def test_an_old_event_is_given_up(case: Case) -> None:
    case.agent.answers.extend([500] * 1000)
    case.announce("first")
    for _ in range(round(GIVE_UP_NS / 1e9 / 1800) + 3):
        case.advance(1800)
    tries = len(case.agent.asked)
    case.advance(LONGEST_WAIT_S)
    assert len(case.agent.asked) == tries


def test_the_queue_is_bounded(case: Case) -> None:
    case.agent.answers.append(500)
    case.announce("0")
    for number in range(1, WAITING_MAX + 5):
        case.announce(str(number))
    assert case.hooks.dropped == 5
    case.advance(10)
    assert case.agent.texts()[1:] == [str(number) for number in range(5, WAITING_MAX + 5)]


def test_a_clock_that_jumps_back_does_not_stop_them(case: Case) -> None:
    case.agent.answers.append(500)
    case.clock.advance(10**6)
    case.announce("first")
    case.stop()
    case.clock.rightNow = 0.0
    case.start()
    case.advance(LONGEST_WAIT_S)
    assert len(case.agent.asked) == 1
    for _ in range(300):
        case.advance(LONGEST_WAIT_S)
    assert case.agent.texts() == ["first", "first"]


def test_what_goes_on_is_told_once_a_day() -> None:
    now, heard = [0], list[Event]()
    events = Events(lambda: now[0])
    events.listen(heard.append)

    def tell(client: str = "laptop") -> int:
        events.announce_seldom(Kind.MISSED_BACKUP, "x", repository=HOME, client=ClientName(client))
        return len(heard)

    assert [tell(), tell(), tell("other"), tell()] == [1, 1, 2, 2]
    now[0] = REPEAT_NS
    assert [tell(), tell()] == [3, 3]
    events.over(Kind.MISSED_BACKUP, HOME, LAPTOP)
    assert tell() == 4
    now[0] = 0  # the clock was set back: better once more than never
    assert tell() == 5
    assert events.counts == {Kind.MISSED_BACKUP: 5}
