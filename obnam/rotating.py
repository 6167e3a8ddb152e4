"""Composes what `obnam key rotate-token` needs: the steps are in `obnam.repository.rotation`."""

import os
from functools import partial

from attrs import evolve

from obnam.config import Settings
from obnam.credentials import Credentials, replace
from obnam.repository.enrol import new_token
from obnam.repository.http import HttpRepository
from obnam.repository.rotation import announce, rotate
from obnam.wiring import BRIEF, Surroundings, over_tls, retrying


async def rotate_token(
    surroundings: Surroundings, settings: Settings, credentials: Credentials
) -> None:
    """Another token for this client, in ``secrets.yaml`` and at the server.

    ``secrets.yaml`` is held meanwhile. Raises `AccessDenied` when the server takes none of ours.
    """

    def keep(token: str, next_token: str | None) -> None:
        kept = evolve(credentials, token=token, next_token=next_token)
        replace(surroundings.places.secrets, kept)

    async def tell(token: str, next_token: str) -> None:
        exchange, close = over_tls(surroundings, settings, credentials, token)
        try:
            await announce(exchange, next_token)
        finally:
            await close()

    async def use(token: str) -> None:
        found = HttpRepository(*over_tls(surroundings, settings, credentials, token))
        repository = retrying(surroundings, found, BRIEF)
        try:
            await repository.describe()
        finally:
            await repository.close()

    new = partial(new_token, os.urandom)
    await rotate(credentials.token, credentials.next_token, new, keep, tell, use)
