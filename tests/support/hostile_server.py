"""A server that says whatever a test tells it to: raw bytes on a Unix socket, or over TLS."""

from collections.abc import Callable

from attrs import define, field
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

Reply = Callable[["HostileConnection", bytes], None]


@define(eq=False)
class HostileConnection(Protocol):
    """One connection: collects a request, and replies once its body is whole."""

    server: "HostileServer"
    received: bytearray = field(factory=bytearray)

    def connectionMade(self) -> None:  # noqa: N802
        self.server.connections.append(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.received += data
        head, end, body = bytes(self.received).partition(b"\r\n\r\n")
        if not end or (not self.server.reply_to_head and len(body) < _content_length(head)):
            return
        self.received.clear()
        self.server.requests.append(head + end + body)
        self.server.reply(self, body)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        self.server.lost.append(self)

    def send(self, data: bytes) -> None:
        """Raw bytes."""
        assert self.transport is not None
        self.transport.write(data)

    def close(self) -> None:
        """End of connection, once all is sent."""
        assert self.transport is not None
        self.transport.loseConnection()


@define(eq=False)
class HostileServer(Factory):
    """``reply`` is called with each request's connection and body."""

    reply: Reply
    reply_to_head: bool = False
    requests: list[bytes] = field(factory=list)
    connections: list[HostileConnection] = field(factory=list)
    lost: list[HostileConnection] = field(factory=list)

    def buildProtocol(self, address: object) -> HostileConnection:  # noqa: N802
        return HostileConnection(self)

    def abort(self) -> None:
        """Cut the connections that there still are."""
        for connection in set(self.connections) - set(self.lost):
            connection.transport.abortConnection()  # type: ignore[union-attr]


def answer(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """A response; ``length`` is what it claims, if not the truth."""
    length = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers]
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


ENDLESS_HEADS = {
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
    "hints": b"HTTP/1.1 103 Early Hints\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
}
"""Answers of which nothing but a head comes, and more of it than a client keeps."""


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
