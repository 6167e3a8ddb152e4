"""Who may use the server: inviting, listing, revoking."""

from collections.abc import Sequence

from obnam.model.ids import ClientName, parse_client_name, parse_repository_name
from obnam.wire.members import BadMessage, Json
from obnam.wire.messages import SCOPES
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.accounts.clients import Client
from obnam_server.store.errors import Kept
from obnam_server.store.store import Store


def invite(store: Store, arguments: Arguments) -> Json:
    """A one-time code for ``client`` in ``repository`` with ``scopes``, until ``expires_ns``."""
    scopes = arguments.texts("scopes")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise BadMessage(f"scopes are {', '.join(SCOPES)}")
    code = store.clients.invite(
        arguments.parsed("client", parse_client_name),
        arguments.parsed("repository", parse_repository_name),
        scopes,
        arguments.number("expires_ns"),
    )
    return {"code": code}


def list_clients(store: Store, arguments: Arguments) -> Json:
    """All clients, by name."""
    return {"clients": [client_to_json(each) for each in store.clients.list()]}


def revoke(store: Store, arguments: Arguments) -> Json:
    """Take the token and the codes of ``client`` away. `NotFound`.

    `Kept`, unless there is ``force``: no other could manage its repository.
    """
    name = arguments.parsed("client", parse_client_name)
    if not arguments.flag("force"):
        _check_not_last(store.clients.list(), name)
    store.clients.revoke(name)
    return {"revoked": name}


def _check_not_last(clients: Sequence[Client], name: ClientName) -> None:
    managing = [each for each in clients if each.enrolled and "manage" in each.scopes]
    for mine in managing:
        rest = [each for each in managing if each.repository == mine.repository]
        if mine.name == name and len(rest) == 1:
            raise Kept(
                f"client {name}",
                f"it is the last that may manage repository {mine.repository}; "
                "let another one join with --scope manage, or add --force",
            )


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


OPERATIONS = (
    Operation("client-invite", invite, Access.CHANGE),
    Operation("client-list", list_clients, Access.READ),
    Operation("client-revoke", revoke, Access.CHANGE),
)
