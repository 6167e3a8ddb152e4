"""Alarms and missed backups, for the administrator: what there are, and settling them."""

from attrs import frozen

from obnam.errors import NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.register import Alarm
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store


@frozen
class RaisedAlarm:
    """An alarm, and whose it is."""

    repository: RepositoryName
    client: ClientName
    alarm: Alarm


def raised(store: Store) -> list[RaisedAlarm]:
    """WRITER. All alarms of all repositories, by repository and client."""
    return [
        RaisedAlarm(name, client, alarm)
        for name in store.repositories()
        for client, alarm in sorted(store.repository(name).decisions.register().alarms.items())
    ]


def acknowledge(store: Store, name: RepositoryName, client: ClientName) -> Alarm:
    """WRITER. Somebody has looked: the policy decides again. `NotFound`: there is no alarm."""
    repository = _existing(store, name)
    alarm = repository.decisions.register().alarms.get(client)
    if alarm is None:
        raise NotFound(f"an alarm of client {client} in repository {name}")
    repository.change(repository.decisions.acknowledge, client)
    return alarm


def set_alert_after(
    store: Store, name: RepositoryName, client: ClientName | None, seconds: int | None
) -> None:
    """WRITER. Say when a backup is missed: of one client, or of all that are not named.

    ``seconds`` ``None``: never (of one client: as for the others). `NotFound`; ``ValueError``: not
    above 0.
    """
    _existing(store, name)
    known = {each.name for each in store.clients.list() if each.repository == name}
    if client is not None and client not in known and seconds is not None:
        raise NotFound(f"client {client} in repository {name}")
    store.settings.set_alert_after_s(name, client, seconds)


def _existing(store: Store, name: RepositoryName) -> RepositoryStore:
    if name not in store.repositories():
        raise NotFound(f"repository {name}")
    return store.repository(name)
