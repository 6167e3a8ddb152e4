"""One request and its answer, within limits: what `HttpRepository` is made of.

A request is never repeated here (that is `obnam.repository.retry`), and the caller's memory is
never touched once the request is over, however it ended.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from obnam.errors import ObnamError, RequestRefused, ServerMisbehaved, ServerUnreachable
from obnam.repository.answers import (
    FAILURES,
    Answer,
    Asked,
    WhyRefused,
    broken,
    causes,
    read_json,
    refusal,
)
from obnam.repository.bodies import BodyProtocol, Collected, MemoryProducer, Receiver
from obnam.repository.certificates import CANNOT_BE_VERIFIED
from obnam.repository.silence import Silence
from obnam.wire import limits
from obnam.wire.messages import BadMessage, Json

T = TypeVar("T")

PROBLEM_MAX = 64 * 1024
"""An error answer, bytes: a hundred chunk ids in hexadecimal and some text."""


class Exchange:
    """Asks one server. ``url`` is ``https://HOST:PORT``, without a path.

    ``token`` is the client's credential; ``why_refused`` is what to tell the user when the server's
    certificate is; ``silence_s`` is how long nothing may be heard. ``gone``: why the
    server will never answer again, if that is known. ``called``: what messages call it, if not
    by its URL.
    """

    def __init__(
        self,
        http: HTTPClient,
        clock: IReactorTime,
        url: str,
        *,
        token: str | None = None,
        why_refused: WhyRefused = lambda code, words: CANNOT_BE_VERIFIED,
        silence_s: float = limits.SILENCE_S,
        gone: Callable[[], ObnamError | None] = lambda: None,
        called: str | None = None,
    ) -> None:
        self.server = url.rstrip("/")
        self._called = called or self.server
        self._http = http
        self._clock = clock
        self._token = token
        self._why_refused = why_refused
        self._silence_s = silence_s
        self._gone = gone

    async def json(
        self,
        method: str,
        path: str,
        asked: Asked,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask with a JSON body, or none, for an answer of at most ``JSON_BODY_MAX``."""
        headers, sent = dict(headers or {}), None
        if body is not None:
            sent = memoryview(json.dumps(body, separators=(",", ":")).encode("ascii"))
            headers = headers | {"Content-Type": "application/json"}
            if len(sent) > limits.JSON_BODY_MAX:
                raise RequestRefused(self._called, f"{asked.what} is too large for the protocol")
        return await self.request(
            method, path, asked, sent, headers, Collected(limits.JSON_BODY_MAX)
        )

    async def binary(self, path: str, asked: Asked, body: memoryview, receiver: Receiver) -> Answer:
        """Post ids or frames; the answer's body goes to ``receiver``."""
        headers = {"Content-Type": "application/octet-stream"}
        if asked.session:
            headers["Obnam-Session"] = asked.session
        return await self.request("POST", path, asked, body, headers, receiver)

    def parsed(self, answer: Answer, parse: Callable[[object], T]) -> T:
        """The message in an answer's JSON. Raises `ServerMisbehaved`."""
        try:
            return parse(read_json(answer))
        except BadMessage as error:
            raise ServerMisbehaved(self._called, str(error)) from error

    async def request(
        self,
        method: str,
        path: str,
        asked: Asked,
        body: memoryview | None,
        headers: Mapping[str, str],
        receiver: Receiver,
    ) -> Answer:
        """One request and its answer: the body of a 2xx goes to ``receiver``, else it is raised.

        Raises the errors of `obnam.repository.answers`; ``CancelledError`` when cancelled.
        """
        silence = Silence(self._clock, self._silence_s)
        producer = None if body is None else MemoryProducer(body, silence)
        try:
            response = await self._send(method, path, headers, producer, silence)
            good = 200 <= response.code < 300
            into = receiver if good else Collected(PROBLEM_MAX)
            await self._receive(response, into, silence)
        except FAILURES as error:
            why = self._why(error, silence)
            if isinstance(why, ServerUnreachable) and not silence.too_slow:
                sent_bytes = 0 if producer is None else producer.taken_bytes
                why.carried_bytes = sent_bytes + silence.received_bytes
            raise why from error
        finally:
            silence.stop()
            if producer is not None:
                producer.stopProducing()
        answer = Answer(
            response.code,
            into.body if isinstance(into, Collected) else b"",
            retry_after=_header(response, "Retry-After"),
            etag=_header(response, "ETag"),
        )
        if not good:
            raise refusal(asked, self._called, answer)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        producer: MemoryProducer | None,
        silence: Silence,
    ) -> IResponse:
        if self._token is not None:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        pending = self._http.request(
            method,
            _Url.from_text(self.server + path),
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=producer,
            allow_redirects=False,
            unbuffered=True,
            reactor=cast(Any, self._clock),  # used for `timeout=` only; never the global one
        )
        silence.watch(pending)
        # Cancelled while it looks up a name, it says that there is no such name.
        answered: Deferred[Any] = Deferred(lambda _: silence.give_up())
        pending.chainDeferred(answered)
        return cast(IResponse, await answered)

    async def _receive(self, response: IResponse, receiver: Receiver, silence: Silence) -> None:
        length = None if response.length is UNKNOWN_LENGTH else response.length
        protocol = BodyProtocol(receiver, silence.received, length)
        silence.watch(protocol.done)
        response.deliverBody(protocol)  # type: ignore[no-untyped-call]
        await protocol.done

    def _why(self, error: Exception, silence: Silence) -> Exception:
        """Tell a request that fell silent from one that was cancelled, and from a broken one."""
        if silence.expired:
            if silence.too_slow:
                problem = f"its answer comes more slowly than {limits.SLOWEST_BYTES_PER_S} bytes/s"
                return ServerUnreachable(self.server, problem, silence.lasted_s)
            silent_s = silence.waits_s
            return ServerUnreachable(self._called, f"no answer for {silent_s:g} seconds", silent_s)
        if silence.given_up or any(isinstance(c, CancelledError) for c in causes(error)):
            return CancelledError()
        gone = self._gone()
        if gone is not None:
            return gone
        return broken(self._called, error, self._why_refused)


class _Url(EncodedURL):
    """A URL that is as it is sent. treq would have its host, be it an IPv6 address, looked over
    as the name of a domain.
    """

    def to_uri(self) -> "_Url":
        """Itself."""
        return self


def _header(response: IResponse, name: str) -> str | None:
    """The last value of a header, or ``None``; headers are bounded: `heads`."""
    values = response.headers.getRawHeaders(name)
    return values[-1] if values else None
