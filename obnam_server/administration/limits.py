"""Quotas, alarms, and when a backup is missed."""

from typing import Any

from obnam.model.ids import parse_client_name, parse_repository_name
from obnam.wire.members import BadMessage, Json
from obnam_server.administration.generations import chosen_of
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store import alarms, quotas
from obnam_server.store.generations.register import Alarm
from obnam_server.store.store import Store

DAYS_SHOWN = 31
"""The newest days of the growth."""

SECONDS_MAX = 10 * 366 * 24 * 3600
"""Ten years: a backup that is missed later than that is not."""


def show_quota(store: Store, arguments: Arguments) -> Json:
    """Use and quota of one ``repository``, and its ``growth``: day → bytes. `NotFound`."""
    name = arguments.parsed("repository", parse_repository_name)
    found = quotas.show(store, name)
    growth = list(store.repository(name).accounting.growth().items())[-DAYS_SHOWN:]
    return {
        "repository": name,
        **found.to_json(),
        "growth": {day.isoformat(): stored_bytes for day, stored_bytes in growth},
    }


def cost(store: Store, arguments: Arguments) -> Json:
    """What ``generations`` of a ``repository`` need, and what deleting all of them would free.

    `NotFound`.
    """
    repository, wanted = chosen_of(store, arguments)
    accounting = repository.accounting
    return {
        "repository": repository.name,
        "size_bytes": {each: accounting.size_bytes(each) for each in wanted},
        "freed_bytes": accounting.freed_bytes(wanted),
    }


def set_quota(store: Store, arguments: Arguments) -> Json:
    """Give a ``repository`` a quota of ``bytes``; without: no limit. `NotFound`, `QuotaBelowUse`.

    ``force``: also one that is below its use.
    """
    name = arguments.parsed("repository", parse_repository_name)
    wanted = arguments.values.get("bytes")
    size = None if wanted is None else arguments.number("bytes", 1)
    found = quotas.set_quota(store, name, size, force=arguments.flag("force"))
    return {"repository": name, **found.to_json()}


def list_alarms(store: Store, arguments: Arguments) -> Json:
    """All alarms, and the ``problems`` of repositories that could not be looked at."""
    found = alarms.raised(store)
    return {
        "alarms": [
            {"repository": each.repository, "client": each.client, **_alarm(each.alarm)}
            for each in found.alarms
        ],
        "problems": list(found.problems),
    }


def acknowledge(store: Store, arguments: Arguments) -> Json:
    """Somebody has looked at the alarm of a ``client`` in a ``repository``. `NotFound`."""
    name = arguments.parsed("repository", parse_repository_name)
    client = arguments.parsed("client", parse_client_name)
    alarm = alarms.acknowledge(store, name, client)
    return {"repository": name, "client": client, **_alarm(alarm)}


def set_missed(store: Store, arguments: Arguments) -> Json:
    """After how many ``seconds`` the backup of a ``client``, or of all, is missed; without: never.

    `NotFound`.
    """
    name = arguments.parsed("repository", parse_repository_name)
    client = arguments.optional("client", parse_client_name)
    wanted = arguments.values.get("seconds")
    seconds = None if wanted is None else arguments.number("seconds", 1, SECONDS_MAX)
    try:
        alarms.set_alert_after(store, name, client, seconds)
    except ValueError as error:
        raise BadMessage(str(error)) from error
    return {"repository": name, "client": client, "seconds": seconds}


def _alarm(alarm: Alarm) -> dict[str, Any]:
    return {"generation": alarm.generation, **alarm.mark.to_json()}


OPERATIONS = (
    Operation("quota-show", show_quota, Access.OPEN),
    Operation("cost", cost, Access.OPEN),
    Operation("quota-set", set_quota, Access.CHANGE),
    Operation("alarm-list", list_alarms, Access.OPEN),
    Operation("alarm-acknowledge", acknowledge, Access.CHANGE),
    Operation("missed-set", set_missed, Access.CHANGE),
)
