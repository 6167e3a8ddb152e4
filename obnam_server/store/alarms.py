"""Alarms and missed backups, for the administrator: what there are, and settling them."""

from collections.abc import Sequence

from attrs import frozen

from obnam.errors import NotFound, UnknownFormat
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.errors import StoreError
from obnam_server.store.generations.register import Alarm
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store


@frozen
class RaisedAlarm:
    """An alarm, and whose it is."""

    repository: RepositoryName
    client: ClientName
    alarm: Alarm


@frozen
class Raised:
    """All alarms, by repository and client; ``problems``: repositories that cannot be opened."""

    alarms: Sequence[RaisedAlarm]
    problems: Sequence[str]


def raised(store: Store) -> Raised:
    """WRITER. All alarms of all repositories."""
    alarms: list[RaisedAlarm] = []
    problems: list[str] = []
    for name in store.repositories():
        try:
            register = store.repository(name).decisions.register()
        except (StoreError, UnknownFormat) as error:
            problems.append(f"repository {name}: {error}")
            continue
        alarms += [
            RaisedAlarm(name, client, alarm) for client, alarm in sorted(register.alarms.items())
        ]
    return Raised(alarms, problems)


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
