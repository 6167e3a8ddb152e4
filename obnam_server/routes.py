"""Which requests there are, what each needs, and how it is found. No request is answered here.

`authorized_route` is the only way to add one, so that none can lack a scope or a body limit.
Both are looked up when a request's headers are in, before its body is.
"""

import re
from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import Any, TypeVar, cast

from attrs import frozen
from klein import Klein
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, ValidationError

from obnam.model.ids import ChunkId, GenerationId, SessionId, parse_chunk_id
from obnam.wire.problems import LENGTH_REQUIRED, METHOD_NOT_ALLOWED, NOT_FOUND, TOO_LARGE
from obnam_server.problems import Refused

READ = frozenset({"backup", "restore", "manage"})
"""Any token may read its repository's sealed chunks and generations."""

STORE = frozenset({"backup"})
"""Only these tokens add anything."""

MANAGE = frozenset({"manage"})
"""Only these delete anything, or see what concerns the whole server."""

OPEN = None
"""No token at all: liveness, and enrolment, which has its own code."""

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Body(Enum):
    """What becomes of a request's body."""

    NONE = "none"
    KEPT = "kept"
    """Held in memory, up to the route's limit."""
    STREAMED = "streamed"
    """Written to the store as it arrives."""


@frozen
class Route:
    """What one request needs: a token with one of ``scopes`` (``None``: no token), a body of at
    most ``limit_bytes``.
    """

    scopes: frozenset[str] | None
    body: Body
    limit_bytes: int
    template: str
    """Its URL with names for what varies: ``/v1/chunks/<chunk>``."""


class ChunkIdConverter(BaseConverter):
    """``<chunk:…>``: 66 hexadecimal digits, a `ChunkId`."""

    regex = "[0-9a-f]{66}"

    def to_python(self, value: str) -> ChunkId:
        """The id; a wrong algorithm byte is no such page."""
        try:
            return parse_chunk_id(bytes.fromhex(value))
        except ValueError as error:
            raise ValidationError from error


class GenerationIdConverter(BaseConverter):
    """``<generation:…>``: 32 hexadecimal digits, a `GenerationId`."""

    regex = "[0-9a-f]{32}"

    def to_python(self, value: str) -> GenerationId:
        """The id."""
        return GenerationId(value)


class SessionIdConverter(BaseConverter):
    """``<session:…>``: 32 hexadecimal digits, a `SessionId`."""

    regex = "[0-9a-f]{32}"

    def to_python(self, value: str) -> SessionId:
        """The id."""
        return SessionId(value)


def new_app() -> Klein:
    """An application without routes, whose URLs know the ids of the protocol."""
    app = Klein()
    app.url_map.converters.update(
        chunk=ChunkIdConverter, generation=GenerationIdConverter, session=SessionIdConverter
    )
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    return app


def authorized_route(
    app: Klein,
    routes: dict[str, Route],
    method: str,
    url: str,
    scopes: frozenset[str] | None,
    body: Body = Body.NONE,
    limit_bytes: int = 0,
) -> Callable[[Handler], Handler]:
    """Add a handler for ``method url``, and in ``routes`` what it needs."""
    if (body is Body.NONE) != (limit_bytes == 0):
        raise ValueError(f"{method} {url}: a body and its limit belong together")

    def decorate(handler: Handler) -> Handler:
        endpoint = handler.__name__
        template = re.sub(r"<\w+:(\w+)>", r"<\1>", url)
        routes[endpoint] = route = Route(scopes, body, limit_bytes, f"{method} {template}")

        @wraps(handler)
        def checked(api: object, request: Any, **ids: object) -> object:
            # What the headers were checked against must be what is about to run.
            if request.route is not route:
                raise Refused(NOT_FOUND)
            return handler(api, request, **ids)

        app.route(url, methods=[method], endpoint=endpoint)(cast(Any, checked))
        return handler

    return decorate


def find(url_map: Map, routes: dict[str, Route], method: bytes, target: bytes) -> Route:
    """The route of a request line. Raises `Refused`: there is none, or not with this method."""
    try:
        path = target.split(b"?", 1)[0].decode("ascii")
        if path.startswith("//"):
            raise Refused(NOT_FOUND)  # werkzeug takes it for one
        matcher = url_map.bind("server", default_method="GET")
        endpoint, _ = matcher.match(path, method.decode("ascii"))
    except MethodNotAllowed as error:
        allowed = ", ".join(sorted(error.valid_methods or ()))
        raise Refused(METHOD_NOT_ALLOWED, headers={"Allow": allowed}) from error
    except (HTTPException, UnicodeDecodeError) as error:
        raise Refused(NOT_FOUND) from error
    return routes[endpoint]


def check_length(route: Route, length: int | None) -> int:
    """The body's announced length, within the route's limit. Raises `Refused`."""
    if length is None:
        raise Refused(LENGTH_REQUIRED)
    if length > route.limit_bytes:
        raise Refused(TOO_LARGE, f"at most {route.limit_bytes} bytes are allowed here")
    return length
