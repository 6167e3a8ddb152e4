"""``obnam-server generation …``: deciding over generations by hand, and legal holds."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from obnam.model.entry import printable
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam_server.admin.context import Context, named

_REPOSITORY = click.argument("repository", callback=named(parse_repository_name))
_GENERATIONS = click.argument("generations", nargs=-1, required=True)
_REASON = click.option("--reason", required=True, help="Why; shown wherever it matters.")


@click.group()
def generation() -> None:
    """The generations of a repository: kept, deleted, pinned."""


@generation.command("list", short_help="All generations of REPOSITORY, oldest first.")
@_REPOSITORY
@click.pass_obj
def list_(context: Context, repository: RepositoryName) -> None:
    """All generations of REPOSITORY, those in the trash too, oldest first."""
    found = context.call("generation-list", repository=repository)
    lines = [_line(each) for each in found["generations"]]
    if found["hold"] is not None:
        lines.append(f"legal hold: {_because(found['hold'])}")
    lines += [
        f"alarm of client {client}: {_because(alarm)}, since generation {alarm['generation']}"
        for client, alarm in found["alarms"].items()
    ]
    context.say(found, lines)


@generation.command(short_help="Put GENERATIONS of REPOSITORY into the trash.")
@_REPOSITORY
@_GENERATIONS
@click.option("--reason", default="deleted by hand", show_default=True, help="Why.")
@click.pass_obj
def delete(
    context: Context, repository: RepositoryName, generations: tuple[str, ...], reason: str
) -> None:
    """Put GENERATIONS of REPOSITORY into the trash; `undelete` takes them out again.

    A generation is named by its id, or by how that begins.
    """
    found = context.call(
        "generation-delete", repository=repository, generations=generations, reason=reason
    )
    context.say(found, [f"{each} is in the trash" for each in found["deleted"]])


@generation.command()
@_REPOSITORY
@_GENERATIONS
@click.pass_obj
def undelete(context: Context, repository: RepositoryName, generations: tuple[str, ...]) -> None:
    """Take GENERATIONS of REPOSITORY out of the trash."""
    found = context.call("generation-undelete", repository=repository, generations=generations)
    context.say(found, [f"{each} is back" for each in found["undeleted"]])


@generation.command()
@_REPOSITORY
@_GENERATIONS
@_REASON
@click.pass_obj
def pin(
    context: Context, repository: RepositoryName, generations: tuple[str, ...], reason: str
) -> None:
    """Keep GENERATIONS of REPOSITORY, whatever its policy says."""
    found = context.call(
        "generation-pin", repository=repository, generations=generations, reason=reason
    )
    context.say(found, [f"{each} is pinned" for each in found["pinned"]])


@generation.command()
@_REPOSITORY
@_GENERATIONS
@click.pass_obj
def unpin(context: Context, repository: RepositoryName, generations: tuple[str, ...]) -> None:
    """Let the policy of REPOSITORY decide over GENERATIONS again."""
    found = context.call("generation-unpin", repository=repository, generations=generations)
    context.say(found, [f"{each} is no longer pinned" for each in found["unpinned"]])


@click.command()
@_REPOSITORY
@_REASON
@click.pass_obj
def hold(context: Context, repository: RepositoryName, reason: str) -> None:
    """Legal hold: nothing in REPOSITORY is deleted until `release`."""
    found = context.call("repository-hold", repository=repository, reason=reason)
    context.say(found, [f"{repository}: nothing is deleted from now on"])


@click.command()
@_REPOSITORY
@click.pass_obj
def release(context: Context, repository: RepositoryName) -> None:
    """End the legal hold of REPOSITORY."""
    found = context.call("repository-release", repository=repository)
    context.say(found, [f"{repository}: its policy is in force again"])


def _line(each: Mapping[str, Any]) -> str:
    received = datetime.fromtimestamp(each["received_ns"] / 1e9, UTC)
    parts = [each["generation"], each["client"], f"{received:%Y-%m-%d %H:%M}"]
    if each["partial"]:
        parts.append("partial")
    if each["pin"] is not None:
        parts.append(f"pinned: {_because(each['pin'])}")
    if each["trashed"] is not None:
        parts.append(f"in the trash: {_because(each['trashed'])}")
    return "\t".join(parts)


def _because(mark: Mapping[str, Any]) -> str:
    return f"{printable(mark['reason'].encode())} (by {printable(mark['by'].encode())})"


COMMANDS = {"generation": generation}
