"""Connections: to a server by TLS, or to the embedded one through a Unix socket.

Composes what `HttpRepository` needs; the tuning of sockets is here and nowhere else.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakSet

from attrs import define, field
from treq.client import HTTPClient
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.tcp import Connection
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

from obnam.errors import ObnamError
from obnam.repository import tls
from obnam.repository.bulk_endpoint import BulkTlsEndpoint
from obnam.repository.deferring import returns_deferred
from obnam.repository.exchange import Exchange
from obnam.repository.heads import BoundedHeads
from obnam.repository.http import HttpRepository
from obnam.transport.bulk_unix import BulkUnix
from obnam.transport.sockets import keep_little_unsent, notice_lost_peer
from obnam.wire.limits import SILENCE_S

if TYPE_CHECKING:
    from obnam.repository.embedded import EmbeddedServer

CONNECT_S = 30.0
"""A server that does not take a connection within this time is not reachable."""

SOCKET_BUFFER_BYTES = 256 * 1024
"""Read, and kept for writing, at once. Twisted's 64 KiB halved the rate of large bodies; a MiB is
copied more often than it is sent, and does not stay in the processor's cache."""

SENT_AT_ONCE_BYTES = 2 * SOCKET_BUFFER_BYTES
"""A piece of `SOCKET_BUFFER_BYTES` and what TLS adds to it, which else stayed behind, and had
Twisted copy the next piece behind it."""

CONNECTIONS_KEPT_MAX = 6
"""Idle connections kept for the next request; a few uploads and a question run side by side."""

IDLE_CONNECTION_S = 30
"""An idle connection is closed after this: well before a server does it (60 s), since a request
on a connection that is just being closed fails, and would have to be repeated."""

CLOSE_S = 1.0
"""How long our goodbye may take to be handed to the system, behind what waits to be sent."""


@define
class Connections:
    """The open connections to one server, tuned for large bodies, and their pool."""

    reactor: ReactorBase
    pool: HTTPConnectionPool
    _open: "WeakSet[Connection]" = field(factory=WeakSet)

    @classmethod
    def none_yet(cls, reactor: ReactorBase) -> "Connections":
        """A pool with the limits of this module."""
        pool = HTTPConnectionPool(reactor, persistent=True)  # type: ignore[no-untyped-call]
        pool.maxPersistentPerHost = CONNECTIONS_KEPT_MAX
        pool.cachedConnectionTimeout = IDLE_CONNECTION_S
        # Repeating is the business of `obnam.repository.retry`: with waits, and told to the user.
        pool.retryAutomatically = False
        return cls(reactor, pool)

    def add(self, protocol: IProtocol) -> None:
        """Tune the connection of ``protocol``, and remember it."""
        transport = getattr(protocol, "transport", None)  # IProtocol does not name it
        if isinstance(transport, Connection):
            transport.bufferSize = SOCKET_BUFFER_BYTES
            transport.SEND_LIMIT = SENT_AT_ONCE_BYTES
            keep_little_unsent(transport.socket)
            notice_lost_peer(transport.socket, int(SILENCE_S))
            self._open.add(transport)

    async def close(self) -> None:
        """Say goodbye, without waiting for the answer to it, and cut what is left."""
        goodbye: Deferred[object] = self.pool.closeCachedConnections()  # type: ignore[no-untyped-call]
        # TLS waits for the other end's goodbye, which takes a round trip, and tells us nothing.
        for transport in list(self._open):
            transport.loseConnection()  # type: ignore[no-untyped-call]
        goodbye.addTimeout(CLOSE_S, self.reactor, lambda result, _: None)
        await goodbye
        for transport in self._open:
            if transport.connected:
                transport.abortConnection()  # type: ignore[no-untyped-call]


@implementer(IStreamClientEndpoint)
@define
class Tuned:
    """An endpoint whose connections are among ``connections``."""

    endpoint: IStreamClientEndpoint
    connections: Connections

    @returns_deferred
    async def connect(self, factory: IProtocolFactory) -> IProtocol:
        """See `IStreamClientEndpoint`."""
        protocol = await self.endpoint.connect(factory)
        self.connections.add(protocol)
        return protocol


@implementer(IAgentEndpointFactory)
@define
class TlsEndpoints:
    """Endpoints for ``https:``, and for nothing else."""

    connections: Connections
    policy: IPolicyForHTTPS

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        """See `IAgentEndpointFactory`."""
        if uri.scheme != b"https":
            raise SchemeNotSupported(f"not https: {uri.scheme!r}")
        reactor = self.connections.reactor
        plain = HostnameEndpoint(reactor, uri.host, uri.port, timeout=CONNECT_S)
        creator = self.policy.creatorForNetloc(uri.host, uri.port)
        return BoundedHeads(BulkTlsEndpoint(creator, Tuned(plain, self.connections), reactor))


@implementer(IAgentEndpointFactory)
@define
class UnixEndpoints:
    """The endpoint of one Unix socket, whatever the URL."""

    connections: Connections
    path: str

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        """See `IAgentEndpointFactory`."""
        plain = UNIXClientEndpoint(  # type: ignore[no-untyped-call]
            BulkUnix(self.connections.reactor), self.path, timeout=CONNECT_S
        )
        return BoundedHeads(Tuned(plain, self.connections))


def _client(connections: Connections, endpoints: IAgentEndpointFactory) -> HTTPClient:
    agent = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]
        connections.reactor, endpoints, pool=connections.pool
    )
    return HTTPClient(agent)


def tls_exchange(
    connections: Connections, url: str, token: str | None, trust: tls.Trust
) -> Exchange:
    """Requests to ``url`` (checked by `tls.check_url`). Raises `ConfigurationError`."""
    endpoints = TlsEndpoints(connections, tls.policy(trust))
    client = _client(connections, endpoints)
    clock, why_refused = connections.reactor, trust.why_refused
    return Exchange(client, clock, url, token=token, why_refused=why_refused)


def open_tls(reactor: ReactorBase, url: str, token: str, trust: tls.Trust) -> HttpRepository:
    """The repository of the client with ``token`` on the server at ``url``."""
    connections = Connections.none_yet(reactor)
    return HttpRepository(tls_exchange(connections, url, token, trust), connections.close)


def unix_exchange(
    connections: Connections,
    path: str,
    token: str | None,
    gone: Callable[[], ObnamError | None] = lambda: None,
    called: str | None = None,
) -> Exchange:
    """Requests through the Unix socket at ``path``. ``gone``, ``called``: see `Exchange`."""
    client = _client(connections, UnixEndpoints(connections, path))
    return Exchange(
        client, connections.reactor, "http://embedded", token=token, gone=gone, called=called
    )


def open_embedded(reactor: ReactorBase, server: "EmbeddedServer", token: str) -> HttpRepository:
    """The repository on an embedded server, which ends when the repository is closed."""
    connections = Connections.none_yet(reactor)

    async def close() -> None:
        await connections.close()
        await server.stop()

    exchange = unix_exchange(
        connections,
        server.socket_path,
        token,
        server.gone,
        called=f"the repository in {server.data_directory}",
    )
    return HttpRepository(exchange, close, server.lend)
