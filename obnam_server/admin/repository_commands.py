"""``obnam-server repository …``: what the server keeps, and for whom."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from obnam.model.figures import counted, size_text
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam_server.admin.clients import client_line
from obnam_server.admin.context import Context, named
from obnam_server.admin.generation_commands import hold, release


@click.group()
def repository() -> None:
    """What the server keeps, and for whom."""


@repository.command("list")
@click.pass_obj
def list_(context: Context) -> None:
    """All repositories."""
    found = context.call("repository-list")["repositories"]
    context.say(found, [_line(each) for each in found])


@repository.command(short_help="One repository, its clients, and what is wrong with it.")
@click.argument("name", callback=named(parse_repository_name))
@click.pass_obj
def show(context: Context, name: RepositoryName) -> None:
    """One repository: its figures, its clients, and what is wrong with it."""
    found = context.call("repository-show", repository=name)
    lines = [_line(found)]
    lines += [f"problem: {problem}" for problem in found["problems"]]
    lines += [f"{client_line(each)}\t{_latest(each)}" for each in found["clients"]]
    context.say(found, lines)


@repository.command()
@click.argument("name", callback=named(parse_repository_name))
@click.option("--yes", is_flag=True, help="I know that nothing brings it back.")
@click.pass_obj
def destroy(context: Context, name: RepositoryName, yes: bool) -> None:
    """Remove all that NAME has, and revoke its clients. Nothing brings it back."""
    if not yes:
        raise click.UsageError(f"all backups in {name} would be lost for good; if so, add --yes")
    found = context.call("repository-destroy", repository=name)
    revoked = [f"{client} can no longer use the server" for client in found["revoked"]]
    context.say(found, [f"{name} is destroyed", *revoked])


def _line(repository: Mapping[str, Any]) -> str:
    if repository.get("problem") is not None:
        return f"{repository['name']}\t{repository['problem']}"
    damage = repository["damaged_chunk_count"]
    parts = [
        str(repository["name"]),
        size_text(repository["used_bytes"]),
        counted(repository["generation_count"], "generation"),
        counted(repository["client_count"], "client"),
    ]
    return "\t".join(parts + ([f"{damage} damaged chunks"] if damage else []))


def _latest(client: Mapping[str, Any]) -> str:
    if client["latest_ns"] is None:
        return "no backup"
    return f"last backup {datetime.fromtimestamp(client['latest_ns'] / 1e9, UTC):%Y-%m-%d %H:%M}"


for command in (hold, release):
    repository.add_command(command)

COMMANDS = {"repository": repository}
