"""Real clients of a `ServerProcess`, by the client's own code."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.base import ReactorBase

from obnam.repository import tls
from obnam.repository.connect import Connections, tls_exchange, unix_exchange
from obnam.repository.enrol import enrol, new_token, parse_invitation
from obnam.repository.http import HttpRepository
from tests.support.server_process import ServerProcess


async def enrolled(reactor: ReactorBase, invitation: str) -> tuple[str, tls.Trust, str]:
    """Use an invitation: URL, what to trust, and the token."""
    token = new_token(os.urandom)
    invited = parse_invitation(invitation)
    trust = tls.Trust(pin=invited.pin)
    connections = Connections.none_yet(reactor)
    try:
        await enrol(tls_exchange(connections, invited.url, None, trust), invited, token)
    finally:
        await connections.close()
    return invited.url, trust, token


@asynccontextmanager
async def client_of(
    reactor: ReactorBase, server: ServerProcess, token: str
) -> AsyncIterator[HttpRepository]:
    """The repository as the owner of ``token`` sees it, by TLS or by the Unix socket."""
    connections = Connections.none_yet(reactor)
    if server.url.startswith("unix:"):
        exchange = unix_exchange(connections, server.url.removeprefix("unix:"), token)
    else:
        trust = tls.Trust(pin=tls.parse_pin(server.pin))
        exchange = tls_exchange(connections, server.url, token, trust)
    repository = HttpRepository(exchange, connections.close)
    try:
        yield repository
    finally:
        await repository.close()
