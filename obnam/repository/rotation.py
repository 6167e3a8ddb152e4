"""Another token in the place of this client's: the order of steps, so that no crash locks it out.

1. The new token is kept beside the old one, durably.
2. The server is told of it: both are good now.
3. The new one is used: the server ends the old one.
4. The old one is forgotten here.

Whatever was done of this, one of the two tokens that are kept is good (`accepted` finds it), and
doing it again goes on where it stopped.
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Protocol

from obnam.errors import AccessDenied
from obnam.repository.answers import Asked
from obnam.repository.exchange import Exchange
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import TokenRequest


class Keep(Protocol):
    """Keeps the tokens, durably and both or none; ``next_token`` ``None``: there is only one."""

    def __call__(self, token: str, next_token: str | None) -> None:
        """Raises what keeps it from doing so; what was kept before is kept then."""


async def announce(exchange: Exchange, token: str) -> None:
    """Tell the server the hash of the token that is to take over. Repeating it is harmless."""
    body = TokenRequest(sha256(token.encode("ascii")).hexdigest()).to_json()
    await exchange.json("POST", "/v1/token", Asked("the new token"), body)


async def rotate(
    token: str,
    next_token: str | None,
    new: Callable[[], str],
    keep: Keep,
    tell: Callable[[str, str], Awaitable[None]],
    use: Callable[[str], Awaitable[object]],
) -> str:
    """Rotate, or go on with it when there is a ``next_token`` already; gives the only token left.

    ``tell(token, next_token)`` is `announce` with the first one; ``use(token)`` is any request.
    Raises `AccessDenied` when the server takes neither token.
    """
    if next_token is None:
        next_token = new()
        keep(token, next_token)
    denied = None
    try:
        await tell(token, next_token)
    except AccessDenied as error:
        # It has taken over already, if we had no time to note it.
        denied = error
    try:
        await use(next_token)
    except AccessDenied as error:
        raise denied or error from error
    keep(next_token, None)
    return next_token


async def accepted(open_with: Callable[[str], IRepository], tokens: Sequence[str]) -> IRepository:
    """The repository, opened with the first of ``tokens`` that the server takes.

    A single one is not tried out. Raises the first `AccessDenied` when none is taken.
    """
    if len(tokens) == 1:
        return open_with(tokens[0])
    first: AccessDenied | None = None
    for token in tokens:
        repository = open_with(token)
        try:
            await repository.describe()
        except AccessDenied as error:
            await repository.close()
            first = first or error
        except BaseException:
            await repository.close()
            raise
        else:
            return repository
    raise first or ValueError("there is no token")
