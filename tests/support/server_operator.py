"""The operator of a server, who has its private key: sees each request, and may do as he likes.

Stands between clients and a `ServerProcess`, on a port that stays while the server behind it
is restarted. What he does to a request is a *rule*; without one he passes everything on. So tests
know what was sent and acknowledged, choose by counting when something dies, and change answers.
"""

import http.client
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import define, evolve, field, frozen

from obnam.model.ids import ChunkId
from obnam.wire.frames import split

SILENCE_S = 60.0
"""A connection on which nothing happens for so long is given up."""

_PASSED_ON = ("Content-Type", "ETag", "Retry-After")
"""Headers of answers. The length is that of the body, also when a rule changed it."""


@frozen
class Asked:
    """A request. ``name`` is its method and path, with ids replaced: ``GET /v1/generations/ID``."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


@frozen
class Answered:
    """An answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def saying(self, body: bytes) -> "Answered":
        """The same with another body."""
        return evolve(self, body=body)


class Cut(Exception):
    """Raised by a rule: the client's connection is cut, without an answer."""


Forward = Callable[[Asked], Answered]
Rule = Callable[[Asked, Forward], Answered]


def passes(asked: Asked, forward: Forward) -> Answered:
    """The honest rule."""
    return forward(asked)


@define(eq=False)
class Operator:
    """``rule`` may be replaced at any time; ``url`` is what clients connect to.

    ``asked`` names all requests so far, in order. ``acknowledged`` has, of each chunk that the
    server said it stored, all sealed forms that were sent; ``sent`` lists the ids of every upload.
    ``mistakes``: what rules raised that they should not; it is raised again at the end.
    """

    data: Path
    rule: Rule = passes
    asked: list[str] = field(factory=list)
    acknowledged: dict[ChunkId, set[bytes]] = field(factory=dict)
    sent: list[ChunkId] = field(factory=list)
    token: str = ""
    mistakes: list[Exception] = field(factory=list)
    _upstream: str = ""
    _lock: threading.Lock = field(factory=threading.Lock)
    _listening: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> "Operator":
        """Listen, with the certificate and the key that the server made for itself."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.data / "certificate.pem", self.data / "private-key.pem")
        self._listening = _Listening(("127.0.0.1", 0), _handler(self, context))
        self._thread = threading.Thread(target=self._listening.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown()
        self._listening.server_close()
        self._thread.join()
        if self.mistakes:
            raise self.mistakes[0]

    @property
    def port(self) -> int:
        """Where he listens, on 127.0.0.1."""
        return int(self._listening.server_address[1])

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"https://127.0.0.1:{self.port}"

    def serve(self, upstream: str) -> None:
        """Pass on to the server at this URL from now on, and forget what was counted."""
        self._upstream = upstream
        self.rule = passes
        self.asked.clear()
        self.sent.clear()

    def look_for_fewer(self) -> None:
        """Remember one in eight of what was acknowledged so far: each upload has dozens."""
        with self._lock:
            kept = {i: forms for i, forms in self.acknowledged.items() if i[-1] % 8 == 0}
            self.acknowledged = kept

    def connect(self) -> http.client.HTTPSConnection:
        """A connection to the server itself."""
        parts = urlsplit(self._upstream)
        return http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=SILENCE_S,
            context=ssl._create_unverified_context(),
        )

    def ask(self, method: str, path: str, body: bytes = b"") -> Answered:
        """Ask the server something himself, with a client's token."""
        connection = self.connect()
        try:
            headers = {"Authorization": self.token}
            return forwarded(connection, Asked("", method, path, headers, body))
        finally:
            connection.close()

    def treat(self, asked: Asked, forward: Forward) -> Answered:
        """Note the request, and let the rule decide."""
        with self._lock:
            self.asked.append(asked.name)
            self.token = asked.headers.get("Authorization", self.token)
        return self.rule(asked, lambda request: self._noted(request, forward))

    def _noted(self, asked: Asked, forward: Forward) -> Answered:
        ids = {}
        if asked.name == "POST /v1/chunks":
            body = memoryview(asked.body)
            ids = {f.chunk_id: bytes(body[f.offset : f.offset + f.length]) for f in split(body)}
            with self._lock:
                self.sent.extend(ids)
        answer = forward(asked)
        if answer.status < 300:
            with self._lock:
                for chunk_id, sealed in ids.items():
                    self.acknowledged.setdefault(chunk_id, set()).add(sealed)
        return answer


def at(name: str, count: int, do: Callable[[], None], *, answered: bool) -> Rule:
    """A rule: at the request number ``count`` (from 1) of this name, ``do`` and cut.

    ``answered``: when the server has answered, and its answer has not been passed on.
    """
    seen, lock = [0], threading.Lock()

    def rule(asked: Asked, forward: Forward) -> Answered:
        with lock:
            seen[0] += asked.name == name
            hit = asked.name == name and seen[0] == count
        if not hit:
            return forward(asked)
        if answered:
            forward(asked)
        do()
        raise Cut

    return rule


def on(name: str, change: Callable[[Answered], Answered]) -> Rule:
    """A rule: answers to requests of this name are changed."""

    def rule(asked: Asked, forward: Forward) -> Answered:
        answer = forward(asked)
        return change(answer) if asked.name == name else answer

    return rule


def forwarded(connection: http.client.HTTPSConnection, asked: Asked) -> Answered:
    """The server's answer."""
    connection.request(asked.method, asked.path, asked.body or None, asked.headers)
    response = connection.getresponse()
    headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
    return Answered(response.status, headers, response.read())


def named(method: str, path: str) -> str:
    """A request's name: its ids, which are in hexadecimal, left out."""
    parts = path.partition("?")[0].split("/")
    return f"{method} " + "/".join("ID" if len(part) >= 32 else part for part in parts)


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections end in all ways here; whoever matters sees it at the other end."""


def _handler(operator: Operator, context: ssl.SSLContext) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SILENCE_S

        def setup(self) -> None:
            self.request.settimeout(SILENCE_S)
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()
            self.upstream = operator.connect()

        def finish(self) -> None:
            self.upstream.close()
            super().finish()
            self.request.close()

        def treat(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if len(body) < int(self.headers.get("Content-Length", 0)):
                self.close_connection = True  # Killed in the middle of it.
                return
            asked = Asked(
                named(self.command, self.path),
                self.command,
                self.path,
                {k: v for k, v in self.headers.items() if k not in ("Host", "Content-Length")},
                body,
            )
            try:
                answer = operator.treat(asked, lambda request: forwarded(self.upstream, request))
            except (Cut, OSError, http.client.HTTPException):
                self.close_connection = True
                return
            except Exception as error:
                operator.mistakes.append(error)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = treat  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: what matters is in `Operator`."""

    return Handler
