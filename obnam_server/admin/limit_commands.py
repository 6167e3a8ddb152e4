"""``obnam-server quota …`` and ``obnam-server alarm …``."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from obnam.errors import DONE_WITH_WARNINGS
from obnam.model.ids import (
    ClientName,
    RepositoryName,
    parse_client_name,
    parse_repository_name,
)
from obnam_server.admin.context import Context, named
from obnam_server.store.quotas import parse_size

_REPOSITORY = click.argument("repository", callback=named(parse_repository_name))


def _size(context: Any, parameter: Any, value: str) -> int | None:
    if value == "none":
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.group()
def quota() -> None:
    """How large a repository may be, and what takes the room."""


@quota.command("show", short_help="Use and quota of REPOSITORY, and how it grew.")
@_REPOSITORY
@click.pass_obj
def show_quota(context: Context, repository: RepositoryName) -> None:
    """Use and quota of REPOSITORY, and how it grew in the last days with a backup."""
    found = context.call("quota-show", repository=repository)
    days = [f"{day}\t{stored:,} bytes" for day, stored in found["growth"].items()]
    context.say(found, [_quota_line(found), *days])


@quota.command()
@_REPOSITORY
@click.argument("generations", nargs=-1, required=True)
@click.pass_obj
def cost(context: Context, repository: RepositoryName, generations: tuple[str, ...]) -> None:
    """What GENERATIONS need, and what deleting all of them would free.

    A generation is named by its id, or by how that begins.
    """
    found = context.call("cost", repository=repository, generations=list(generations))
    lines = [f"{each}\tneeds {size:,} bytes" for each, size in found["size_bytes"].items()]
    context.say(found, [*lines, f"deleting frees {found['freed_bytes']:,} bytes"])


@quota.command("set", short_help="Let REPOSITORY have at most SIZE, such as 500GB.")
@_REPOSITORY
@click.argument("size", metavar="SIZE|none", callback=_size)
@click.option("--force", is_flag=True, help="Also below its use: nothing can be backed up then.")
@click.pass_obj
def set_quota(context: Context, repository: RepositoryName, size: int | None, force: bool) -> None:
    """Let the segments of REPOSITORY have at most SIZE, such as 500GB or 1.5TiB."""
    found = context.call("quota-set", repository=repository, bytes=size, force=force)
    context.say(found, [_quota_line(found)])


def _quota_line(found: Mapping[str, Any]) -> str:
    limit, used = found["quota_bytes"], found["used_bytes"]
    if limit is None:
        return f"{found['repository']}: {used:,} bytes, no quota"
    return f"{found['repository']}: {used:,} of {limit:,} bytes ({used / limit:.0%})"


@click.group(short_help="Backups that are unlike the others, or do not come.")
def alarm() -> None:
    """Backups that are unlike the others, and backups that do not come."""


@alarm.command("list")
@click.pass_obj
def list_alarms(context: Context) -> None:
    """All alarms that nobody has acknowledged."""
    found = context.call("alarm-list")
    lines = [_alarm_line(each) for each in found["alarms"]]
    context.say(found, lines + [f"problem: {problem}" for problem in found["problems"]])
    if found["problems"]:
        raise click.exceptions.Exit(DONE_WITH_WARNINGS)


@alarm.command(short_help="Let the policy decide again: CLIENT was looked at.")
@_REPOSITORY
@click.argument("client", callback=named(parse_client_name))
@click.pass_obj
def acknowledge(context: Context, repository: RepositoryName, client: ClientName) -> None:
    """I have looked at CLIENT of REPOSITORY: let the policy decide over its generations again."""
    found = context.call("alarm-acknowledge", repository=repository, client=client)
    context.say(found, [f"acknowledged: {_alarm_line(found)}"])


@alarm.command(short_help="When a backup is missed.")
@_REPOSITORY
@click.argument("hours", metavar="HOURS|never")
@click.option("--client", callback=named(parse_client_name), help="Only for this one.")
@click.pass_obj
def missed(
    context: Context, repository: RepositoryName, hours: str, client: ClientName | None
) -> None:
    """Miss a backup when the last good one in REPOSITORY is older than HOURS."""
    found = context.call(
        "missed-set", repository=repository, client=client, seconds=_seconds(hours)
    )
    who = f"client {client}" if client is not None else "all clients that are not named"
    when = "never" if found["seconds"] is None else f"after {hours} hours"
    context.say(found, [f"{repository}: the backup of {who} is missed {when}"])


def _seconds(hours: str) -> int | None:
    if hours == "never":
        return None
    if not (hours.isascii() and hours.isdecimal() and 0 < len(hours) <= 5 and int(hours)):
        raise click.UsageError(f"write a number of hours, such as 48, or never, not {hours!r}")
    return int(hours) * 3600


def _alarm_line(found: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(found["at_ns"] / 1e9, UTC)
    return (
        f"{found['repository']}\t{found['client']}\t{when:%Y-%m-%d %H:%M}\t"
        f"{found['generation']}\t{found['reason']}"
    )


COMMANDS = {"quota": quota, "alarm": alarm}
