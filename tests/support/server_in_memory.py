"""The server without sockets, threads or waiting: raw bytes in, raw bytes out, time by hand."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from pathlib import Path
from typing import Any, cast

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.api import Api
from obnam_server.auth import Gate
from obnam_server.channel import ApiChannel
from obnam_server.lent import LentMemories
from obnam_server.monitoring.events import Event, Events
from obnam_server.monitoring.metrics import Counters
from obnam_server.room import Room
from obnam_server.services import Repositories, Services
from obnam_server.sharing.failures import Failures
from obnam_server.sharing.queues import Queues
from obnam_server.site import ApiSite
from obnam_server.store.store import Store
from obnam_server.upkeep.anomaly import judge
from obnam_server.work import Work, shielded
from tests.support.in_memory import folder_in_memory

HOUR_NS = 3600 * 10**9


@define
class WorkByHand(Work):
    """Work that is done when `do_all` says so, in the order in which it was asked for."""

    _queue: deque[Callable[[], None]] = field(factory=deque)

    def _defer(self, pool: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        done: Deferred[Any] = Deferred()

        def do() -> None:
            try:
                result = call(*args, **kwargs)
            except Exception:
                done.errback()
            else:
                done.callback(result)

        self._under_way += 1
        self._queue.append(do)
        return shielded(done.addBoth(self._done))

    def do_all(self) -> None:
        """Do what is asked for, and what that leads to."""
        while self._queue:
            self._queue.popleft()()


@frozen
class RawAnswer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Wire:
    """One connection to the server."""

    channel: ApiChannel
    transport: Any  # StringTransport, which has no annotations
    server: "ServerInMemory"

    def send(self, data: bytes) -> None:
        """Bytes from the client; and all that they lead to, but for waiting."""
        self.channel.dataReceived(data)
        self.server.work.do_all()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = None,
        session: str | None = None,
        **headers: str,
    ) -> RawAnswer:
        """A whole request, and its answer."""
        self.send(self.head(method, path, body, token=token, session=session, **headers))
        return self.answer()

    def head(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = None,
        session: str | None = None,
        **headers: str,
    ) -> bytes:
        """The bytes of a request. ``headers``: with ``_`` for ``-``."""
        lines = [f"{method} {path} HTTP/1.1", "Host: server"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        if session is not None:
            lines.append(f"Obnam-Session: {session}")
        if body is not None and "Content_Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + (body or b"")

    def answer(self) -> RawAnswer:
        """The next answer; takes it out of what was received."""
        head, _, rest = self.transport.value().partition(b"\r\n\r\n")
        assert head, "there is no answer"
        status, _, fields = head.partition(b"\r\n")
        headers = {k.lower(): v for k, v in BytesParser().parsebytes(fields).items()}
        length = int(headers.get("content-length", "0"))
        self.transport.clear()
        self.transport.write(rest[length:])
        return RawAnswer(int(status.split()[1]), headers, rest[:length])

    def nothing(self) -> bool:
        """Whether no answer has come."""
        return not self.transport.value()

    @property
    def closed(self) -> bool:
        """Whether the server has closed, or is closing, the connection."""
        return bool(self.transport.disconnecting or self.transport.disconnected)

    def lose(self) -> None:
        """The client goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
        self.server.work.do_all()


@define(eq=False)
class ServerInMemory:
    """The real application on a real store in ``folder``."""

    store: Store
    clock: Clock
    work: WorkByHand
    site: ApiSite
    events: Events
    announced: list[Event]
    lent: LentMemories
    wires: list[Wire] = field(factory=list)

    @classmethod
    def open(cls, folder: Path, *, is_embedded: bool = False) -> "ServerInMemory":
        """Open the store, and wire everything as `obnam_server.service` does."""
        clock = Clock()
        now_ns = lambda: HOUR_NS + round(clock.seconds() * 1e9)  # noqa: E731
        store = Store.open(folder, now_ns, judge=judge)
        work = WorkByHand(clock)  # type: ignore[arg-type]
        counters = Counters()
        gate = Gate(store.clients, work, Failures(clock.seconds))
        events = Events(now_ns)
        lent = LentMemories()
        announced: list[Event] = []
        events.listen(announced.append)
        api = Api(store, work, gate, counters, events, clock, now_ns)
        services = Services(
            api.app.url_map,
            api.routes,
            gate,
            Repositories(store, work),
            work,
            clock,
            counters,
            Queues.empty(clock),
            Room(store.settings, work, events),
            lent=lent if is_embedded else None,
        )
        site = ApiSite(api.app.resource(), services, clock)
        return cls(store, clock, work, site, events, announced, lent)

    def connect(self, host: str = "127.0.0.1") -> Wire:
        """A new connection from ``host``; from none: through a Unix socket."""
        kind = IPv6Address if ":" in host else IPv4Address
        peer: Any = kind("TCP", host, 1) if host else UNIXAddress(None)
        channel: Any = cast(Any, self.site).buildProtocol(peer)
        transport = cast(Any, StringTransport)(peerAddress=peer)
        wire = Wire(channel, transport, self)
        channel.makeConnection(transport)
        self.wires.append(wire)
        return wire

    def advance(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.advance(seconds)
        self.work.do_all()

    def token(
        self,
        name: str,
        repository: str | None = None,
        scopes: tuple[str, ...] = ("backup", "restore"),
    ) -> str:
        """The token of a new client."""
        from hashlib import sha256

        code = self.store.clients.invite(
            ClientName(name), RepositoryName(repository or name), scopes, 2 * HOUR_NS
        )
        token = f"token-of-{name}-that-is-long-enough-to-be-one"
        self.store.clients.enrol(code, sha256(token.encode("ascii")).hexdigest())
        return token

    def close(self) -> None:
        """Cut all connections, close the store."""
        for wire in self.wires:
            if wire.channel in self.site.channels:
                wire.lose()
        self.store.close()


@contextmanager
def server_in_memory() -> Iterator[ServerInMemory]:
    """One with a new store."""
    with folder_in_memory() as folder:
        server = ServerInMemory.open(folder / "data")
        try:
            yield server
        finally:
            server.close()
