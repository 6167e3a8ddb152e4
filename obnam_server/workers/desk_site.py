"""The owner's end of its connections with workers. Each stands for one connection of a client.

The first line says where that comes from; then it is HTTP, as if the client itself spoke, and
`desk` for what only workers ask. Nothing is too slow here: workers see to that.
"""

from typing import Any, Protocol

from attrs import define, field
from klein import Klein
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import IResource

from obnam_server.channel import ApiChannel
from obnam_server.requests import ApiRequest
from obnam_server.routes import Route, find
from obnam_server.services import Services
from obnam_server.sharing.queues import Queue
from obnam_server.site import ApiSite
from obnam_server.store.repository import RepositoryStore, Upload
from obnam_server.store.reservations import Reservation
from obnam_server.work import Work
from obnam_server.workers.messages import CLOSING

log = Logger()

SOURCE_MAX = 64
"""Bytes of the first line: an address, or nothing for a Unix socket."""


@define(eq=False)
class Held:
    """What a worker's request has taken for the bytes that the worker carries now.

    ``route``: as which request that counts. The repository is not let go before, so that another
    one of its name has to wait.
    """

    route: Route
    began_s: float
    repository: RepositoryStore
    _turn: tuple[Queue, int]
    place: Reservation | None = None
    upload: Upload | None = None
    _left: bool = field(init=False, default=False)

    def leave(self) -> None:
        """The turn and the room are others' now. Harmless when repeated."""
        if self._left:
            return
        self._left = True
        queue, ticket = self._turn
        queue.leave(ticket)
        if self.place is not None:
            self.place.release()

    def give_up(self, work: Work) -> None:
        """The worker, or its client, is gone: nothing stays of the upload."""
        upload, self.upload = self.upload, None
        if upload is not None:
            work.upload(upload.abort).addErrback(
                lambda failure: log.failure("Abort failed", failure=failure)
            )
        self.leave()


class Answers(Protocol):
    """Who answers workers: `obnam_server.workers.desk.Desk`."""

    @property
    def app(self) -> Klein:
        """What its requests are found with."""

    @property
    def routes(self) -> dict[str, Route]:
        """Its requests."""

    def stands_for(self, route: Route | None) -> Route:
        """The route of the API that one of these is a part of."""

    def count(self, request: "DeskRequest") -> None:
        """Count a client's request when it ends."""


class DeskChannel(ApiChannel):
    """One connection."""

    site: "DeskSite"
    held: Held | None = None
    _first_line: bytes | None = b""

    @property
    def busy(self) -> bool:
        """Bytes that the worker carries are also something that is done for it."""
        return super().busy or self.held is not None

    def introduce(self, source: str | None) -> None:
        """The worker says it."""

    def dataReceived(self, data: bytes) -> None:
        """The first line, then HTTP."""
        if self._first_line is None:
            super().dataReceived(data)
            return
        self._first_line += data
        line, ends, rest = self._first_line.partition(b"\r\n")
        if len(line) > SOURCE_MAX:
            self.forceAbortClient()
        elif ends:
            self._first_line = None
            super().introduce(line.decode("ascii") or None)
            if rest:
                super().dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client, or the worker, is gone."""
        super().connectionLost(reason)
        self.let_go()

    def requestDone(self, request: Any) -> None:
        """Whatever is asked next ends what was held, unless it is about that."""
        if isinstance(request, DeskRequest) and not request.holds_on:
            self.let_go()
        super().requestDone(request)

    def let_go(self) -> None:
        """Nothing is held any more."""
        held, self.held = self.held, None
        if held is not None:
            held.give_up(self.site.services.work)

    def _set_deadline(self, delay_s: float | None) -> None:
        pass


class DeskRequest(ApiRequest):
    """A client's request, or a worker's own."""

    channel: DeskChannel
    holds_on = False
    """Whether what the connection holds is still needed when this is answered."""
    told_status = 0
    """How the worker has answered the client, if it was not with what we said."""

    def find_route(self) -> Route:
        """One of the API, or of the desk."""
        desk = self.channel.site.desk
        if self.channel._path.startswith(b"/worker/"):
            return find(desk.app.url_map, desk.routes, self.channel._command, self.channel._path)
        return super().find_route()

    def say_closing(self) -> None:
        """It is the client's that is to be closed, and this one with it."""
        super().say_closing()
        self.setHeader(CLOSING, b"1")

    def hold(self, upload: Upload | None = None) -> None:
        """Keep the turn of this request, and the room and the upload if it has them."""
        self.holds_on = True
        route = self.channel.site.desk.stands_for(self.route)
        turn, place = self.take_turn_over(), self.place
        self.place = None
        self.channel.held = Held(route, self.began_s, self.repository, turn, place, upload)

    @property
    def is_gone(self) -> bool:
        """Whether the worker waits for an answer no more."""
        return bool(self._disconnected)


class DeskSite(ApiSite):
    """All connections with workers."""

    protocol = DeskChannel  # type: ignore[assignment]  # Twisted's own is a function

    def __init__(self, api: IResource, desk: Answers, services: Services, reactor: Any) -> None:
        super().__init__(api, services, reactor, DeskRequest, timeout_s=None)
        self.desk = desk
        self._desk_resource = desk.app.resource()

    def getResourceFor(self, request: Any) -> Any:
        """Whose the route is: the API's, or the desk's."""
        if request.route in self.desk.routes.values():
            request.site, request.sitepath = self, []
            return self._desk_resource
        return super().getResourceFor(request)

    def log(self, request: Request) -> None:
        """Count what a client asked for, once, as what it was."""
        if isinstance(request, DeskRequest) and request.route in self.desk.routes.values():
            self.desk.count(request)
        else:
            super().log(request)
