"""Inviting, listing and revoking clients, by configuration: with or without a running server."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.messages import Json
from obnam_server.admin.listening import public_url
from obnam_server.config import Settings
from obnam_server.enrolment import Invitation
from obnam_server.store.clients import Client, Clients
from obnam_server.tls import certificate_files, pin_of


@contextmanager
def open_clients(settings: Settings) -> Iterator[Clients]:
    """The registry of a server's data directory, which is made if it is not there yet."""
    clients = Clients.open(settings.data_directory, time.time_ns)
    try:
        yield clients
    finally:
        clients.close()


def invite(
    settings: Settings,
    name: ClientName,
    repository: RepositoryName,
    scopes: Sequence[str],
    expires_ns: int,
) -> Invitation:
    """Invite a client. Raises `ConfigurationError` when the server's address is not known."""
    url = public_url(settings)
    with open_clients(settings) as clients:
        pin = pin_of(certificate_files(settings)) if url.startswith("https:") else None
        return Invitation(url, clients.invite(name, repository, scopes, expires_ns), pin)


def list_clients(settings: Settings) -> list[Client]:
    """All clients, by name."""
    with open_clients(settings) as clients:
        return clients.list()


def revoke(settings: Settings, name: ClientName) -> None:
    """Take a client's token and codes away. Raises `NotFound`."""
    with open_clients(settings) as clients:
        clients.revoke(name)


def client_to_json(client: Client) -> Json:
    """One client as JSON. Times: ns since the epoch."""
    return {
        "name": client.name,
        "repository": client.repository,
        "scopes": list(client.scopes),
        "created_ns": client.created_ns,
        "enrolled": client.enrolled,
        "revoked_ns": client.revoked_ns,
    }


def client_line(client: Client) -> str:
    """One client for people."""
    since = f"since {datetime.fromtimestamp(client.created_ns / 1e9, UTC):%Y-%m-%d}"
    state = "revoked" if client.revoked_ns else since if client.enrolled else "invited"
    return f"{client.name}\t{client.repository}\t{','.join(client.scopes)}\t{state}"
