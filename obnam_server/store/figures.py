"""What metrics and alarms want to know of a repository, in one look. Any thread."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.accounts.clients import Client
from obnam_server.store.accounts.repository_settings import RepositorySettings
from obnam_server.store.quotas import Quota
from obnam_server.store.repository import RepositoryStore

SECOND_NS = 1_000_000_000


@frozen
class ClientFigures:
    """One client that may back up. Times: ns since the epoch.

    ``last_good_ns``: when its newest generation that is no checkpoint was committed; ``None``:
    there is none. ``missed``: that is longer ago than was set.
    """

    name: ClientName
    last_good_ns: int | None
    alarm: bool
    missed: bool


@frozen
class RepositoryFigures:
    """One repository, and its clients."""

    name: RepositoryName
    quota: Quota
    generation_count: int
    trash_count: int
    damaged_chunk_count: int
    session_count: int
    clients: Sequence[ClientFigures]


def look_at(
    repository: RepositoryStore,
    settings: RepositorySettings,
    clients: Sequence[Client],
    now_ns: int,
) -> RepositoryFigures:
    """The figures of a repository now. ``clients``: all of the server."""
    register = repository.decisions.register()
    last_good = repository.accounting.last_good()
    alert_after_s = settings.alert_after_s(repository.name)
    return RepositoryFigures(
        name=repository.name,
        quota=Quota(repository.used_bytes(), settings.quota(repository.name)),
        generation_count=repository.generation_count(),
        trash_count=len(register.trash),
        damaged_chunk_count=repository.damaged_chunk_count(),
        session_count=repository.session_count(),
        clients=[
            ClientFigures(
                name=each.name,
                last_good_ns=last_good.get(each.name),
                alarm=each.name in register.alarms,
                missed=_misses(each, last_good.get(each.name), alert_after_s, now_ns),
            )
            for each in clients
            if each.repository == repository.name and _backs_up(each)
        ],
    )


def _backs_up(client: Client) -> bool:
    return client.enrolled and client.revoked_ns is None and "backup" in client.scopes


def _misses(
    client: Client,
    last_good_ns: int | None,
    alert_after_s: Mapping[ClientName | None, int],
    now_ns: int,
) -> bool:
    """Whether a backup is missed; a client that never made one, since it was invited."""
    after_s = alert_after_s.get(client.name, alert_after_s.get(None))
    since_ns = client.created_ns if last_good_ns is None else last_good_ns
    return after_s is not None and now_ns - since_ns > after_s * SECOND_NS
