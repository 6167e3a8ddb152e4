"""The running server's side of its administration: HTTP on a Unix socket, for whom it may concern.

``POST /OPERATION`` with a JSON object of arguments is answered with JSON, or with a problem
document (RFC 9457). ``GET /`` tells what only the running server knows. Who connects must be root
or the server's own user, by the word of the kernel; anybody else is turned away unread.
"""

import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from obnam.errors import NotFound
from obnam.wire.limits import SILENCE_S
from obnam.wire.members import BadMessage, Json
from obnam.wire.problems import CONTENT_TYPE, FORBIDDEN, INTERNAL, METHOD_NOT_ALLOWED, TOO_LARGE
from obnam_server.administration.operation import Access, LongOperation
from obnam_server.administration.perform import perform, perform_long
from obnam_server.administration.problems import problem_of
from obnam_server.administration.registry import find
from obnam_server.drained_site import DrainedSite
from obnam_server.store.store import Store
from obnam_server.upkeep.rounds import Rounds
from obnam_server.work import Work

log = Logger()

ARGUMENTS_MAX = 1 << 20
"""Bytes of an operation's arguments."""


def peer_of(connection: socket.socket) -> int:
    """The user id of the process at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", found)[1])


class AdminRequest(Request):
    """A request whose body is kept, up to `ARGUMENTS_MAX`; what is larger is dropped."""

    channel: "AdminChannel"
    too_large = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.body = bytearray()

    def gotLength(self, length: int | None) -> None:
        """The headers are in."""
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self.too_large = self.too_large or len(self.body) + len(data) > ARGUMENTS_MAX
        if self.too_large:
            self.body.clear()
        else:
            self.body += data


class AdminChannel(HTTPChannel):
    """One connection. ``administrator``: the user id at its other end."""

    site: "AdminSite"
    transport: Any  # a Unix socket, with more than ITransport says
    administrator: int

    def connectionMade(self) -> None:
        """See who it is, before anything is read."""
        self.administrator = peer_of(self.transport.socket)
        if self.administrator in self.site.allowed:
            super().connectionMade()
            self.site.channels.add(self)
            return
        log.warn("User {uid} may not administer this server", uid=self.administrator)
        only = f"only root and user {os.geteuid()} may administer this server"
        body = json.dumps(FORBIDDEN.to_json(only, error="AccessDenied")).encode("ascii")
        head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: {CONTENT_TYPE}\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        if self in self.site.channels:
            super().connectionLost(reason)
            self.site.channel_lost(self)


class AdminSite(DrainedSite):
    """All connections of administrators. ``allowed``: the user ids that may be.

    No access log: what changes something is in the audit log.
    """

    protocol = AdminChannel  # type: ignore[assignment]  # Twisted's own is a function
    channels: set[AdminChannel]

    def __init__(self, resource: Resource, allowed: frozenset[int], reactor: ReactorBase) -> None:
        super().__init__(resource, AdminRequest, reactor, SILENCE_S)
        self.allowed = allowed


class OperationsPage(Resource):
    """Answers every path. ``about``: what the running server says of itself.

    ``rounds``: upkeep that is asked for waits for what these have under way, and they for it.
    """

    isLeaf = True

    def __init__(self, store: Store, work: Work, rounds: Rounds, about: Callable[[], Json]) -> None:
        super().__init__()
        self._store = store
        self._work = work
        self._rounds = rounds
        self._about = about

    def render(self, request: AdminRequest) -> Any:
        """Answer now or later, but answer."""
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        answer = Deferred.fromCoroutine(self._answer(request))
        answer.addErrback(_failed)
        answer.addCallback(lambda found: None if gone else _write(request, *found))
        return NOT_DONE_YET

    async def _answer(self, request: AdminRequest) -> tuple[int, bytes]:
        if request.method == b"GET" and request.path == b"/":
            return 200, _encoded(self._about())
        if request.method != b"POST":
            return METHOD_NOT_ALLOWED.status, _encoded(METHOD_NOT_ALLOWED.to_json())
        if request.too_large:
            return TOO_LARGE.status, _encoded(TOO_LARGE.to_json())
        operation = find(_operation_name(request.path))
        asked = _arguments(request), request.channel.administrator
        if isinstance(operation, LongOperation):
            steps = perform_long(self._store, operation, *asked, self._work, self._rounds.pace)
            return 200, _encoded(await self._rounds.in_turn(steps))
        run = self._work.read if operation.access is Access.READ else self._work.write
        found = await run(perform, self._store, operation, *asked)
        if operation.afterwards is not None:
            self._work.background(operation.afterwards, self._store).addErrback(_failed_afterwards)
        return 200, _encoded(found)


def _operation_name(path: bytes) -> str:
    try:
        return path.decode("ascii").removeprefix("/")
    except UnicodeDecodeError as error:
        raise NotFound("such an operation") from error


def _arguments(request: AdminRequest) -> object:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise BadMessage("the body is not JSON") from error


def _encoded(value: Json) -> bytes:
    return json.dumps(value).encode("ascii")


def _failed(failure: Failure) -> tuple[int, bytes]:
    found = problem_of(failure.value)
    if found is None:
        log.failure("An operation of the administration failed", failure=failure)
        found = INTERNAL.status, _encoded(INTERNAL.to_json("the server failed; its log says why"))
    return found


def _failed_afterwards(failure: Failure) -> None:
    log.failure("Work that an operation left for later failed", failure=failure)


def _write(request: AdminRequest, status: int, body: bytes) -> None:
    request.setResponseCode(status)
    content_type = "application/json" if status < 400 else CONTENT_TYPE
    request.setHeader(b"Content-Type", content_type.encode("ascii"))
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
