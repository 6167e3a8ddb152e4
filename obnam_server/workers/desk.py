"""What a worker asks for itself: may these bytes come, and where do those lie?

An upload is two requests: the first has the client's token and the body's length checked, waits for
its turn, and begins the file that the worker then writes; the second ends it. What is held
between them goes with the connection, which goes with the client's. A fetch is one, and another
that says that it is over.
"""

from typing import ClassVar, cast

from attrs import define
from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from obnam.errors import NotFound
from obnam.wire import members
from obnam.wire.limits import JSON_BODY_MAX
from obnam_server.api import CHUNK_IDS_BODY_MAX, Api
from obnam_server.exchange import (
    json_answer,
    nothing,
    octets,
    read_json,
    session_of,
    wanted_by,
)
from obnam_server.monitoring.metrics import Counters
from obnam_server.problems import write_answer
from obnam_server.requests import ApiRequest
from obnam_server.routes import READ, STORE, Body, Route, authorized_route, check_length, new_app
from obnam_server.work import Work
from obnam_server.workers.desk_site import DeskRequest
from obnam_server.workers.messages import (
    BODY_LENGTH,
    RECEIVED_BODY_MAX,
    REPOSITORY,
    pack_wanted,
    unpack_received,
    unpack_wanted,
)

HTTP_ERRORS = 400
"""Statuses from here on are refusals."""


@define(slots=False, eq=False)
class Desk:
    """Answers workers."""

    app: ClassVar[Klein] = new_app()
    routes: ClassVar[dict[str, Route]] = {}  # filled below, while the class is made

    _work: Work
    _counters: Counters
    _clock: IReactorTime

    # Uploads

    @authorized_route(app, routes, "POST", "/worker/uploads", STORE)
    async def begin_upload(self, request: DeskRequest) -> bytes:
        """May a body of this length come? Then it goes into the file at ``path``, to its end."""
        length = check_length(Api.routes["store"], _body_length(request))
        await request.take_room(length)

        async def steps() -> bytes:
            upload = await self._work.upload(request.repository.begin_upload)
            try:
                path = await self._work.upload(upload.leave)
                # Looked at last: from here to `hold` nothing else happens.
                if request.is_gone:
                    raise CancelledError
            except BaseException:
                await self._work.upload(upload.abort)
                raise
            request.hold(upload)
            # A path is bytes; what is no text comes through JSON as it is.
            return json_answer(request, {"path": str(path)}, 201)

        return await self._work.whole(steps())

    @authorized_route(
        app, routes, "PUT", "/worker/uploads", STORE, body=Body.KEPT, limit_bytes=RECEIVED_BODY_MAX
    )
    async def end_upload(self, request: DeskRequest) -> bytes:
        """All of the body is in the file: store it. Answered when it is durable."""
        session, received = session_of(request), unpack_received(request.read_body())
        held, caller, gate = request.channel.held, request.caller, request.gate
        upload = None if held is None else held.upload
        if held is None or upload is None:
            raise NotFound("upload")
        held.upload = None

        async def steps() -> None:
            try:
                try:
                    await self._work.upload(upload.finish_written, received)
                    accept = held.repository.accept
                    await gate.write(caller, accept, session, upload, caller.name, held.place)
                except BaseException:
                    await self._work.upload(upload.abort)
                    raise
            finally:
                held.leave()

        await self._work.whole(steps())
        self._counters.received_bytes += received.body_bytes
        return nothing(request)

    # Answers

    @authorized_route(
        app,
        routes,
        "POST",
        "/worker/fetch",
        READ,
        body=Body.KEPT,
        limit_bytes=CHUNK_IDS_BODY_MAX,
    )
    async def fetch(self, request: DeskRequest) -> bytes:
        """Where chunks lie, once it is their turn."""
        wanted, length = await wanted_by(request, self._work)
        await request.take_turn(request.queues.answers, length)
        request.hold()
        request.setHeader(REPOSITORY, request.repository.name.encode("ascii"))
        return octets(request, pack_wanted(wanted))

    @authorized_route(
        app, routes, "POST", "/worker/moved", READ, body=Body.KEPT, limit_bytes=4 * JSON_BODY_MAX
    )
    async def moved(self, request: DeskRequest) -> bytes:
        """Where chunks are that could not be read where they were."""
        held = request.channel.held
        if held is None:
            raise NotFound("fetch")
        request.holds_on = True
        now = await self._work.read(held.repository.moved, unpack_wanted(request.read_body()))
        return octets(request, pack_wanted(now))

    @authorized_route(
        app, routes, "POST", "/worker/done", READ, body=Body.KEPT, limit_bytes=JSON_BODY_MAX
    )
    async def done(self, request: DeskRequest) -> bytes:
        """The client has been answered, with ``status`` and so many ``sent`` bytes."""
        document = read_json(request)
        request.told_status = members.number(document, "status")
        self._counters.sent_bytes += members.number(document, "sent")
        return nothing(request)

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """See `obnam_server.problems`."""
        return write_answer(cast(ApiRequest, request), failure)

    # What is counted

    def stands_for(self, route: Route | None) -> Route:
        """The route of the API that one of the desk is a part of."""
        uploads = (self.routes["begin_upload"], self.routes["end_upload"])
        return Api.routes["store" if route in uploads else "fetch"]

    def count(self, request: DeskRequest) -> None:
        """Count a client's request when it ends: with its last part, or with a refusal."""
        held = request.channel.held
        status = request.told_status or request.code
        if request.holds_on and status < HTTP_ERRORS:
            return
        route = self.stands_for(request.route) if held is None else held.route
        began_s = request.began_s if held is None else held.began_s
        self._counters.answered(b"POST", status)
        self._counters.took(route.template, status, self._clock.seconds() - began_s)


def _body_length(request: DeskRequest) -> int | None:
    text = request.getHeader(BODY_LENGTH)
    return int(text) if text is not None else None
