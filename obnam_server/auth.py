"""Who asks, and may they: token -> client, before anything else of a request is looked at."""

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from obnam.wire.problems import BUSY, FORBIDDEN, UNAUTHENTICATED
from obnam_server.problems import Refused
from obnam_server.store.clients import Client, Clients
from obnam_server.work import Work

TOKEN_MAX = 128
"""Characters of a token. Ours have 43: 256 random bits in base64url."""

FAILED_DELAY_S = 1.0
"""A wrong token or code waits this long for its answer. Guessing 256 bits is hopeless anyway;
this keeps a client with a wrong token from filling the log and the reader threads."""

FAILED_WAITING_MAX = 100
"""Wrong tokens that wait for their answer at once; more are answered 503 at once."""


@define
class Gate:
    """Lets clients in by their token, and slows down those it does not know."""

    _registry: Clients
    _work: Work
    _clock: IReactorTime
    _waiting: int = 0

    async def admit(self, authorization: bytes | None, scopes: frozenset[str]) -> Client:
        """The client that an ``Authorization`` header names, if it has one of ``scopes``.

        Raises `Refused`: unknown (after a delay), or without the scope (at once).
        """
        token = _bearer(authorization)
        client = None
        if token is not None:
            client = await self._work.read(self._registry.authenticate, token)
        if client is None:
            await self.slow_down()
            raise Refused(UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
        if scopes.isdisjoint(client.scopes):
            raise Refused(
                FORBIDDEN, f"this needs a token with the scope {' or '.join(sorted(scopes))}"
            )
        return client

    async def slow_down(self) -> None:
        """Wait, as one whose secret was wrong. Raises `Refused` when too many wait."""
        if self._waiting >= FAILED_WAITING_MAX:
            raise Refused(BUSY, headers={"Retry-After": "5"})
        self._waiting += 1
        try:
            pause: Deferred[None] = deferLater(self._clock, FAILED_DELAY_S)
            await pause
        finally:
            self._waiting -= 1


def _bearer(authorization: bytes | None) -> str | None:
    """The token of ``Authorization: Bearer TOKEN``."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not 0 < len(token) <= TOKEN_MAX or not token.isascii():
        return None
    return token.decode("ascii")
