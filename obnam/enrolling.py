"""Composes what `obnam init` needs to become a client: of a server, or of a directory."""

import os
import socket
from pathlib import Path

from attrs import field, frozen

from obnam.config import Settings
from obnam.credentials import Location, joining_token
from obnam.model.ids import ClientName, RepositoryName
from obnam.repository import tls
from obnam.repository.connect import Connections, open_embedded, open_tls, tls_exchange
from obnam.repository.enrol import Invitation, enrol, new_token
from obnam.wire.interfaces import IRepository
from obnam.wiring import BRIEF, Surroundings, retrying

EMBEDDED_REPOSITORY = RepositoryName("default")
"""A repository in a directory is one: computers that share the directory share their chunks."""


@frozen
class Enrolled:
    """A computer that the server knows by its token, and that has no key yet."""

    location: Location
    client: ClientName
    repository_name: RepositoryName
    token: str = field(repr=False)
    repository: IRepository
    server_key: bytes | None


async def enrol_at_server(
    surroundings: Surroundings, settings: Settings, invitation: Invitation
) -> Enrolled:
    """Accept an invitation. Raises `AccessDenied` when it does not count (any more)."""
    pin = None if invitation.pin is None else tls.format_pin(invitation.pin)
    location = Location(url=settings.server_url or invitation.url, pin=pin)
    token = joining_token(surroundings.places.secrets, invitation.code, new_token(os.urandom))
    trust = tls.Trust(invitation.pin, settings.trusted_certificates)
    url = location.url or invitation.url
    connections = Connections.none_yet(surroundings.reactor)
    try:
        answer = await enrol(tls_exchange(connections, url, None, trust), invitation, token)
    finally:
        await connections.close()
    repository = open_tls(surroundings.reactor, url, token, trust)
    return Enrolled(
        location,
        answer.client,
        answer.repository,
        token,
        retrying(surroundings, repository, BRIEF),
        answer.server_key,
    )


async def enrol_in_directory(surroundings: Surroundings, directory: Path) -> Enrolled:
    """Join the repository in a directory, which is made if it is new."""
    from obnam.repository import embedded  # of no use to who has a server
    from obnam.repository.directory import let_in

    directory = directory.absolute()
    reactor = surroundings.reactor
    server = await embedded.start(reactor, directory, surroundings.places.private)
    try:
        name = client_name(socket.gethostname())
        token = new_token(os.urandom)
        answer = await let_in(reactor, server, name, EMBEDDED_REPOSITORY, token)
    except BaseException:
        await server.stop()
        raise
    return Enrolled(
        Location(directory=directory),
        answer.client,
        answer.repository,
        token,
        retrying(surroundings, open_embedded(reactor, server, token), BRIEF),
        answer.server_key,
    )


def client_name(host: str) -> ClientName:
    """A host's name as that of a client: what a client's name may not have becomes ``-``."""
    text = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in host.lower())
    return ClientName(text.lstrip("._-")[:63] or "computer")
