"""The real client against the real server application, without sockets, threads or waiting."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from attrs import define
from treq.client import HTTPClient
from twisted.internet.address import IPv4Address
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.test import iosim
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from obnam.repository.connect import Connections
from obnam.repository.exchange import Exchange
from obnam.repository.http import HttpRepository
from tests.support.server_in_memory import ServerInMemory

T = TypeVar("T")

TURNS_MAX = 10_000
"""Turns that one request may take before it counts as stuck."""


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
@define(eq=False)
class MemoryNetwork:
    """Connects to ``server``, and moves bytes when `turn` is called."""

    server: ServerInMemory
    pumps: list[Any]

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        return self

    def connect(self, factory: IProtocolFactory) -> "Deferred[Any]":
        client: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        channel = cast(Any, self.server.site).buildProtocol(IPv4Address("TCP", "127.0.0.1", 2))
        fake = cast(Any, iosim.FakeTransport)
        pump = cast(Any, iosim.connect)(
            channel, fake(channel, isServer=True), client, fake(client, isServer=False)
        )
        self.pumps.append(pump)
        return succeed(client)

    def turn(self) -> None:
        """Let everything go on that can."""
        for pump in self.pumps:
            pump.flush()
        self.server.work.do_all()
        self.server.clock.advance(0)

    def finish(self, deferred: "Deferred[T]") -> "Deferred[T]":
        """Turn until ``deferred`` has fired."""
        for _ in range(TURNS_MAX):
            if deferred.called:
                return deferred
            self.turn()
        raise AssertionError("the request is stuck")


class DrivenRepository:
    """An `HttpRepository` whose methods turn the network until they are done."""

    def __init__(self, repository: HttpRepository, network: MemoryNetwork) -> None:
        self._repository = repository
        self._network = network

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Deferred[Any]] = getattr(self._repository, name)
        return lambda *args: self._network.finish(method(*args))


def client_in_memory(server: ServerInMemory, token: str) -> DrivenRepository:
    """The repository as the client with ``token`` has it."""
    network = MemoryNetwork(server, [])
    connections = Connections.none_yet(cast(ReactorBase, server.clock))
    agent = cast(Any, Agent).usingEndpointFactory(server.clock, network, pool=connections.pool)
    exchange = Exchange(HTTPClient(agent), server.clock, "http://memory", token=token)
    return DrivenRepository(HttpRepository(exchange, connections.close), network)
