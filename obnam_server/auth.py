"""Who asks, and may they: token -> client, before anything else of a request is looked at."""

from collections.abc import Callable
from math import ceil
from typing import ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from obnam.wire.problems import FORBIDDEN, TOO_MANY_FAILURES, UNAUTHENTICATED
from obnam_server.problems import Refused
from obnam_server.sharing.failures import Failures, KnownTokens
from obnam_server.store.accounts.clients import Client, Clients
from obnam_server.work import Work

P = ParamSpec("P")
T = TypeVar("T")

TOKEN_MAX = 128
"""Characters of a token. Ours have 43: 256 random bits in base64url."""


@define
class Gate:
    """Lets clients in by their token; addresses that sent too many wrong ones have to wait."""

    _registry: Clients
    _work: Work
    _failures: Failures
    _known: KnownTokens = field(factory=KnownTokens)

    async def admit(
        self, authorization: bytes | None, scopes: frozenset[str], source: str | None
    ) -> Client:
        """The client that an ``Authorization`` header names, if it has one of ``scopes``.

        ``source``: the peer's, of `obnam_server.sharing.sources`. Raises `Refused`: unknown,
        without the scope, or not looked at since too many were wrong.
        """
        token = _bearer(authorization)
        if token is None or token not in self._known:
            self.check(source)
        client = None
        if token is not None:
            client = await self._work.read(self._registry.authenticate, token)
        if token is None or client is None:
            if token is not None:
                self._known.was_wrong(token)
            self.failed(source)
            raise Refused(UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
        self._known.was_good(token)
        if client.by_next_token:
            # Before anything is answered: who hears an answer may forget the old token.
            await self.write(client, self._registry.take_over, token)
        if scopes.isdisjoint(client.scopes):
            raise Refused(
                FORBIDDEN, f"this needs a token with the scope {' or '.join(sorted(scopes))}"
            )
        return client

    def write(
        self, caller: Client, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "Deferred[T]":
        """A change of state for a client that was let in: on the writer thread.

        Its token is looked at once more there, where tokens are revoked, too: a body may take
        minutes to come in. `AccessDenied`: it is no longer good, and nothing was changed.
        """

        def checked() -> T:
            self._registry.check(caller)
            return call(*args, **kwargs)

        return self._work.write(checked)

    def check(self, source: str | None) -> None:
        """Raises `Refused` while too many secrets from there were wrong."""
        wait_s = self._failures.wait_s(source)
        if wait_s > 0:
            raise Refused(TOO_MANY_FAILURES, headers={"Retry-After": str(ceil(wait_s))})

    def failed(self, source: str | None) -> None:
        """A secret from there was wrong."""
        self._failures.failed(source)


def _bearer(authorization: bytes | None) -> str | None:
    """The token of ``Authorization: Bearer TOKEN``."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not 0 < len(token) <= TOKEN_MAX or not token.isascii():
        return None
    return token.decode("ascii")
