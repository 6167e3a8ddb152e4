"""A client's request in a worker: passed on to the owner, and its answer back.

Sealed chunks are carried past the owner: see `_store` and `_fetch`.
"""

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.client import ResponseDone
from twisted.web.http import CREATED, NO_BODY_CODES, OK, Request, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from obnam.model.ids import parse_repository_name
from obnam_server.api import Api
from obnam_server.problems import write_answer
from obnam_server.requests import ANSWER_HEADERS
from obnam_server.routes import check_length, find
from obnam_server.store.segments.fetch import Wanted, size_of
from obnam_server.streams import ANSWERS_MEMORY, LEAST_READ_AHEAD, READ_AHEAD, Stream
from obnam_server.uploads import LEAST_WAITING, UPLOADS_MEMORY, WAITING_MAX, UploadBody
from obnam_server.workers.carrying import WrittenBody, frames_of
from obnam_server.workers.channel import WorkerChannel
from obnam_server.workers.line import LineLost, PassedBody, body_of
from obnam_server.workers.messages import (
    BODY_LENGTH,
    CLOSING,
    DONE,
    FETCH,
    MOVED,
    REPOSITORY,
    UPLOADS,
    pack_received,
    pack_wanted,
    unpack_wanted,
)

log = Logger()

_OF_ONE_CONNECTION = (
    b"Connection",
    b"Content-Length",
    b"Host",
    b"Keep-Alive",
    b"Proxy-Connection",
    b"TE",
    b"Trailer",
    b"Transfer-Encoding",
    b"Upgrade",
    BODY_LENGTH,
)
"""Headers that are not passed on: of a connection (RFC 9110, 7.6.1), or only a worker's to say."""


class WorkerRequest(Request):
    """A request on its way to the owner."""

    channel: WorkerChannel
    _whole = False
    _expects_continue = False
    _body: UploadBody[WrittenBody] | PassedBody | None = None
    _answer: Callable[[], None] | None = None
    _steps: "Deferred[None] | None" = None
    _carries = False

    # The request comes in

    def gotLength(self, length: int | None) -> None:
        """The headers are in; ``length`` (bytes) of the body, ``None``: it does not say."""
        self.content = BytesIO()
        self._held: list[bytes] = []
        self._ended: Deferred[None] = Deferred()
        self.channel.has_asked = True
        self._line = self.channel.line
        self._carriage = self.channel.site.carriage
        self._expects_continue = self.requestHeaders.hasHeader(b"Expect")
        self.requestHeaders.removeHeader(b"Expect")
        for name, value in ANSWER_HEADERS:
            self.setHeader(name, value)
        if length:
            self.channel.pause_body()
        self._steps = Deferred.fromCoroutine(self._run(length))
        self._steps.addErrback(lambda failure: log.failure("A request failed", failure=failure))

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        if self._body is not None:
            self._body.feed(data)
        elif self._answer is None:
            self._held.append(data)

    def process(self) -> None:
        """The request is whole, or what is left of it is not wanted."""
        self._whole = True
        self.channel.end_upload()
        if self._answer is not None:
            self._answer()
        elif not self._ended.called:
            self._ended.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)
        self._end_carrying()
        if isinstance(self._body, UploadBody):
            self._body.give_up()
        if self._steps is not None:
            self._steps.cancel()

    def finish(self) -> None:
        """The answer is whole."""
        super().finish()
        self._end_carrying()

    # What becomes of it

    async def _run(self, length: int | None) -> None:
        try:
            try:
                await self._take(length)
            except LineLost:
                raise
            except Exception:
                # What goes wrong here is answered like what goes wrong in the owner.
                if not self._disconnected:
                    await self._refuse(Failure())
        except LineLost:
            if not self._disconnected:
                self.channel.forceAbortClient()

    async def _take(self, length: int | None) -> None:
        route = find(Api.app.url_map, Api.routes, self.channel._command, self.channel._path)
        size_bytes = check_length(route, length)
        if route is Api.routes["store"]:
            response = await self._store(size_bytes)
        elif route is Api.routes["fetch"]:
            response = await self._pass_on(FETCH, size_bytes)
            if response.code == OK:
                await self._fetch(response)
                return
        else:
            response = await self._pass_on(self.channel._path, size_bytes)
        self._respond(lambda: self._give(response))

    async def _pass_on(self, target: bytes, size_bytes: int) -> IResponse:
        body = None
        if size_bytes:
            body = self._body = PassedBody(size_bytes, self.channel.pause_body, self._go_on)
            self._feed_held()
        return await self._line.ask(self.channel._command, target, self._headers(), body)

    def _go_on(self) -> None:
        if self._disconnected:
            return
        self.channel.resume_body()
        if self._expects_continue:
            self._expects_continue = False
            self.channel._send100Continue()

    def _feed_held(self) -> None:
        held, self._held = self._held, []
        for piece in held:
            self.handleContentChunk(piece)

    def _headers(self) -> Headers:
        headers = self.requestHeaders.copy()
        for name in _OF_ONE_CONNECTION:
            headers.removeHeader(name)
        return headers

    # Uploads

    async def _store(self, size_bytes: int) -> IResponse:
        """Ask for a file, write the body into it, and say what it was made of."""
        headers = self._headers()
        headers.setRawHeaders(BODY_LENGTH, [b"%d" % size_bytes])
        response = await self._line.ask(b"POST", UPLOADS, headers)
        if response.code != CREATED:
            return response
        written = WrittenBody(Path(json.loads(await body_of(response))["path"]))
        self._begin_carrying()
        body: UploadBody[WrittenBody] = UploadBody(
            lambda: written,
            self._carriage.work,
            self.channel,
            self._ended.errback,
            lambda: self._carriage.share(UPLOADS_MEMORY, WAITING_MAX, LEAST_WAITING),
        )
        self._body = body
        if not self._whole:
            self.channel.begin_upload(body)
        self._feed_held()
        self._go_on()
        await self._ended
        await body.finished()
        frames = PassedBody.of(pack_received(written.received))
        return await self._line.ask(b"PUT", UPLOADS, self._headers(), frames)

    # Answers with sealed chunks

    async def _fetch(self, response: IResponse) -> None:
        """Read what the owner has found, and send it."""
        (name,) = response.headers.getRawHeaders(REPOSITORY)
        repository = parse_repository_name(name.decode("ascii"))
        wanted = unpack_wanted(await body_of(response))
        length = size_of(wanted)
        self._begin_carrying()
        self._date()
        self.setHeader(b"Content-Type", b"application/octet-stream")
        self.setHeader(b"Content-Length", b"%d" % length)
        parts = frames_of(self._carriage.data, repository, wanted, self._moved)
        read_ahead = self._carriage.share(ANSWERS_MEMORY, READ_AHEAD, LEAST_READ_AHEAD)
        clock: Any = self._carriage.reactor
        await Stream(parts, length, self, self._carriage.work, clock, read_ahead).run()
        await self._say_done(OK, length)
        self.finish()

    def _moved(self, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        """On a reader thread: ask the owner where chunks are now."""

        async def ask() -> Sequence[Wanted]:
            body = PassedBody.of(pack_wanted(wanted))
            response = await self._line.ask(b"POST", MOVED, self._headers(), body)
            now = await body_of(response)
            return unpack_wanted(now) if response.code == OK else []

        reactor: Any = self._carriage.reactor
        found: Sequence[Wanted] = blockingCallFromThread(
            reactor, lambda: Deferred.fromCoroutine(ask())
        )
        return found

    # What is carried shares the memory, and is said to be over

    def _begin_carrying(self) -> None:
        self._carries = True
        self._carriage.carried += 1
        self.channel.carry()

    def _end_carrying(self) -> None:
        if self._carries:
            self._carries = False
            self._carriage.carried -= 1

    async def _say_done(self, status: int, sent_bytes: int) -> None:
        body = PassedBody.of(json.dumps({"status": status, "sent": sent_bytes}).encode("ascii"))
        response = await self._line.ask(b"POST", DONE, self._headers(), body)
        await body_of(response)

    # The answer

    def _respond(self, answer: Callable[[], None]) -> None:
        """Answer; when the body is still coming, do not wait for the rest of it."""
        if self._disconnected:
            return
        if self._whole:
            answer()
        else:
            self._answer = answer
            self._held.clear()
            self.channel.leave_body()

    def _give(self, response: IResponse) -> None:
        """Pass the owner's answer on."""
        self.setResponseCode(response.code, response.phrase)
        for name, values in response.headers.getAllRawHeaders():
            self.responseHeaders.setRawHeaders(name, values)
        if self.responseHeaders.hasHeader(CLOSING):
            self.responseHeaders.removeHeader(CLOSING)
            self.channel.persistent = False
        sized = response.length is not UNKNOWN_LENGTH and response.code not in NO_BODY_CODES
        if sized and self.method != b"HEAD":  # whose length is among the headers
            self.setHeader(b"Content-Length", b"%d" % response.length)
        self._say_if_closing()
        response.deliverBody(_Passing(self))

    async def _refuse(self, failure: Failure) -> None:
        body = write_answer(self, failure)
        if self.startedWriting:
            return
        if self._carries:
            await self._say_done(self.code, 0)
            self._date()
        self._respond(lambda: self._finish_with(body))

    def _finish_with(self, body: bytes) -> None:
        self._say_if_closing()
        self.write(body)
        self.finish()

    def _say_if_closing(self) -> None:
        if not self.channel.persistent:
            self.setHeader(b"Connection", b"close")

    def _date(self) -> None:
        """What `twisted.web.server` puts into the owner's answers to whole requests."""
        self.setHeader(b"Server", server.version)
        self.setHeader(b"Date", datetimeToString())


class _Passing(Protocol):
    """The body of an answer, from the owner to the client, as fast as that takes it."""

    def __init__(self, request: WorkerRequest) -> None:
        self._request = request

    def connectionMade(self) -> None:
        """It begins."""
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """A piece."""
        if not self._request._disconnected:
            self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """That was all; or the owner is gone, and the client must not take it for all."""
        request = self._request
        if request._disconnected:
            return
        request.unregisterProducer()
        if reason.check(ResponseDone):
            request.finish()
        else:
            request.channel.forceAbortClient()
