"""One request, from its headers to its handler: all is decided before the body is kept.

A request whose headers are in is looked up (`routes.find`), its length is checked, its client is
let in (`auth.Gate`), and only then its body is taken: into memory up to the route's limit, or
piece by piece into a segment. twisted.web would collect the body first and ask then.
"""

from io import BytesIO
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from obnam.wire.lent import LENT_HEADER, LentPart
from obnam.wire.members import BadMessage
from obnam.wire.problems import FORBIDDEN, TOO_MANY_REQUESTS
from obnam_server.auth import Gate
from obnam_server.channel import LEAST_SOCKET_BYTES, SOCKET_BYTES, SOCKETS_MEMORY, ApiChannel
from obnam_server.lent import LentBody
from obnam_server.problems import Refused, write_answer
from obnam_server.routes import Body, Route, check_length, find
from obnam_server.services import ServingSite
from obnam_server.sharing.queues import Queue, Queues, share_of_memory
from obnam_server.store.accounts.clients import Client
from obnam_server.store.repository import RepositoryStore, Upload
from obnam_server.store.reservations import Reservation
from obnam_server.uploads import LEAST_WAITING, UPLOADS_MEMORY, WAITING_MAX, UploadBody

KEPT_FREELY_MAX = 256 * 1024
"""A body up to this is kept in memory without waiting for a turn (bytes)."""

ANSWER_HEADERS = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))
"""In every answer: nobody on the way is to keep it, or to take it for a page."""


class ApiRequest(Request):
    """A request of the protocol.

    ``route``, ``caller`` and ``repository`` are set before a handler sees it; the last two only
    where the route needs a token.
    """

    defaultContentType = None
    channel: ApiChannel
    route: Route | None = None
    caller: Client
    repository: RepositoryStore
    upload: UploadBody[Upload] | LentBody[Upload] | None = None
    place: Reservation | None = None

    _lent: LentPart | None = None
    _memory: memoryview | None = None
    _refused: Failure | None = None
    _turn: tuple[Queue, int] | None = None
    _admission: Deferred[None] | None = None
    _admitted = False
    _whole = False
    _expects_continue = False

    def __init__(self, channel: ApiChannel, *args: Any, **more: Any) -> None:
        super().__init__(channel, *args, **more)
        self._services = cast(ServingSite, channel.site).services
        self.began_s = self._services.clock.seconds()
        self._held: list[bytes] = []
        for name, value in ANSWER_HEADERS:
            self.responseHeaders.setRawHeaders(name, [value])

    # From the headers

    def gotLength(self, length: int | None) -> None:
        """The headers are in; ``length`` (bytes) of the body, ``None``: it does not say."""
        self.content = self._kept = BytesIO()
        # HTTPChannel would send "100 Continue" before anybody was asked.
        self._expects_continue = self.requestHeaders.hasHeader(b"Expect")
        self.requestHeaders.removeHeader(b"Expect")
        try:
            self.route = self.find_route()
            check_length(self.route, length)
            self._lent = self._find_lent(self.route, length)
        except (Refused, BadMessage):
            self._refuse(Failure())
            return
        body_length = length or 0 if self._lent is None else self._lent.length
        admission = Deferred.fromCoroutine(self._admit(self.route, body_length))
        self._admission = admission
        admission.addCallbacks(self._let_in, self._refuse)
        if length and not self._admitted and self._refused is None:
            self.channel.pause_body()

    def find_route(self) -> Route:
        """By the request line. Raises `Refused`."""
        services, channel = self._services, self.channel
        return find(services.url_map, services.routes, channel._command, channel._path)

    def _find_lent(self, route: Route, length: int | None) -> LentPart | None:
        """Where the body lies that does not come. `BadMessage`, `Refused`."""
        said = self.requestHeaders.getRawHeaders(LENT_HEADER.encode("ascii"), [])
        if not said:
            return None
        if self._services.lent is None or route.body is not Body.STREAMED or length:
            raise BadMessage("no body in memory is taken here")
        part = LentPart.from_header(b", ".join(said).decode("latin-1"))
        check_length(route, part.length)
        return part

    async def _admit(self, route: Route, length: int) -> None:
        if route.scopes is not None:
            authorization = self.requestHeaders.getRawHeaders(b"Authorization", [])
            if len(authorization) > 1:
                raise Refused(FORBIDDEN, "more than one Authorization header")
            self.caller = await self._services.gate.admit(
                authorization[0] if authorization else None, route.scopes, self.channel.source
            )
            if not self._services.crowd.is_welcome(self.channel, self.caller.name):
                raise Refused(
                    TOO_MANY_REQUESTS, "too many connections", headers={"Retry-After": "5"}
                )
            self.repository = await self._services.repositories.of_client(self.caller.repository)
        if self._lent is not None and self._services.lent is not None:
            self._memory = self._services.lent.view(self._lent)
        if route.body is Body.STREAMED:
            await self.take_room(length)
        elif length > KEPT_FREELY_MAX:
            await self.take_turn(self._services.queues.bodies, length)

    async def take_room(self, length: int) -> None:
        """Return when an upload of so many bytes has room and may go. Raises `Refused`."""
        self.place = await self._services.room.take(self.repository, length)
        await self.take_turn(self._services.queues.uploads, length)

    async def take_turn(self, queue: Queue, length: int) -> None:
        """Return when so many bytes of this client's may be in flight, until the request ends.

        Raises `Refused`. One turn a request.
        """
        turn = queue, await queue.wait(self.caller.name, length)
        if self._disconnected:
            queue.leave(turn[1])
            raise CancelledError
        self._turn = turn
        self.channel.set_buffer(
            share_of_memory(SOCKETS_MEMORY, len(queue), SOCKET_BYTES, LEAST_SOCKET_BYTES)
        )

    @property
    def gate(self) -> Gate:
        """Who let it in."""
        return self._services.gate

    @property
    def queues(self) -> Queues:
        """What is waited for."""
        return self._services.queues

    def _let_in(self, _: None) -> None:
        self._admission = None
        self._admitted = True
        if self._memory is not None:
            begin = self.repository.begin_upload
            self.upload = LentBody(begin, self._services.work, self._memory)
        elif self.route is not None and self.route.body is Body.STREAMED:
            self.upload = UploadBody(
                self.repository.begin_upload,
                self._services.work,
                self.channel,
                self._refuse,
                self._waiting_max,
            )
            if not self._whole:
                # Else the body was shorter than the admission, and what comes next on this
                # connection belongs to another request.
                self.channel.begin_upload(self.upload)
        held, self._held = self._held, []
        for piece in held:
            self.handleContentChunk(piece)
        if self._whole:
            self._begin()
            return
        self.channel.resume_body()
        if self._expects_continue:
            self.channel._send100Continue()

    def _waiting_max(self) -> int:
        return share_of_memory(
            UPLOADS_MEMORY, len(self._services.queues.uploads), WAITING_MAX, LEAST_WAITING
        )

    def _refuse(self, failure: Failure) -> None:
        self._admission = None
        if self._disconnected or failure.check(CancelledError):
            return
        self._refused = failure
        self._held.clear()
        if self._whole:
            self._answer_refusal(failure)
        else:
            self.channel.leave_body()

    # The body

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        if self._refused is not None:
            return
        if not self._admitted:
            self._held.append(data)
        elif isinstance(self.upload, UploadBody):
            self.upload.feed(data)
        else:
            self._kept.write(data)

    def process(self) -> None:
        """The request is whole, or what is left of it is not wanted."""
        self._whole = True
        self.channel.end_upload()
        if self._refused is not None:
            self._answer_refusal(self._refused)
        elif self._admitted:
            self._begin()

    def _begin(self) -> None:
        super().process()

    def _answer_refusal(self, failure: Failure) -> None:
        body = write_answer(self, failure)
        if not self.channel.persistent:
            self.say_closing()
        self.write(body)
        self.finish()

    def say_closing(self) -> None:
        """This is the last answer on the connection."""
        self.setHeader(b"Connection", b"close")

    def read_body(self) -> bytes:
        """The whole body of a route that keeps it."""
        return self._kept.getvalue()

    def take_upload(self) -> UploadBody[Upload] | LentBody[Upload]:
        """The upload becomes the handler's; it is no longer given up with the request."""
        upload, self.upload = self.upload, None
        if upload is None:
            raise Refused(FORBIDDEN)
        return upload

    def take_place(self) -> Reservation:
        """The room that the upload has becomes the handler's."""
        place, self.place = self.place, None
        if place is None:
            raise Refused(FORBIDDEN)
        return place

    def take_turn_over(self) -> tuple[Queue, int]:
        """The turn does not end with the request: leave that queue with that ticket."""
        turn, self._turn = self._turn, None
        if turn is None:
            raise ValueError("this request has no turn")
        return turn

    # The end

    def finish(self) -> None:
        """The answer is whole."""
        super().finish()
        self._let_go()

    def connectionLost(self, reason: Any) -> None:
        """The client is gone."""
        super().connectionLost(reason)
        if self._admission is not None:
            self._admission.cancel()
        self._let_go()

    def _let_go(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn[0].leave(turn[1])
        if self.upload is not None:
            self.upload.give_up()
            self.upload = None
        if self.place is not None:
            self.place.release()
            self.place = None
