"""Repositories: which there are, and what is in them."""

from obnam.errors import ObnamError
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam.wire.members import Json
from obnam_server.administration.clients import client_to_json
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.accounts.clients import Client
from obnam_server.store.store import Store


def list_repositories(store: Store, arguments: Arguments) -> Json:
    """All repositories, by name, with their figures; or why there are none of one (``problem``)."""
    clients = store.clients.list()
    found: list[Json] = []
    for name in store.repositories():
        try:
            found.append({**_figures(store, name, clients), "problem": None})
        except ObnamError as error:
            # One that is broken does not hide the others.
            found.append({"name": name, "problem": str(error)})
    return {"repositories": found}


def show(store: Store, arguments: Arguments) -> Json:
    """One ``repository``: figures, problems, and its clients, revoked ones too. `NotFound`."""
    name = arguments.parsed("repository", parse_repository_name)
    repository = store.repository(name)
    clients = store.clients.list()
    shown = []
    for each in clients:
        if each.repository == name:
            latest = repository.latest(each.name)
            receipt = None if latest is None else latest.summary.receipt
            shown.append(
                {
                    **client_to_json(each),
                    "latest": None if receipt is None else receipt.generation,
                    "latest_ns": None if receipt is None else receipt.received_ns,
                }
            )
    return {
        **_figures(store, name, clients),
        "problems": list(repository.problems),
        "clients": shown,
    }


def destroy(store: Store, arguments: Arguments) -> Json:
    """All of one ``repository`` goes, and its clients are revoked. `NotFound`."""
    name = arguments.parsed("repository", parse_repository_name)
    return {"destroyed": name, "revoked": store.destroy_repository(name)}


def _figures(store: Store, name: RepositoryName, clients: list[Client]) -> Json:
    repository = store.repository(name)
    return {
        "name": name,
        "client_count": sum(c.repository == name and c.revoked_ns is None for c in clients),
        "generation_count": repository.generation_count(),
        "used_bytes": repository.used_bytes(),
        "damaged_chunk_count": repository.damaged_chunk_count(),
    }


OPERATIONS = (
    Operation("repository-list", list_repositories, Access.OPEN),
    Operation("repository-show", show, Access.OPEN),
    Operation("repository-destroy", destroy, Access.CHANGE, afterwards=Store.remove_gone),
)
