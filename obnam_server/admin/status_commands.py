"""``obnam-server status`` and ``rebuild-index``: the health of the whole."""

import time

import click

from obnam.errors import DONE_WITH_WARNINGS
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam_server.admin.context import Context, named
from obnam_server.admin.rebuilding import rebuild
from obnam_server.admin.status import status


@click.command("rebuild-index")
@click.option("--repository", callback=named(parse_repository_name), help="Only this one.")
@click.pass_obj
def rebuild_index_(context: Context, repository: RepositoryName | None) -> None:
    """Make the index anew from the segments. The server must not be running."""
    rebuilt = rebuild(context.settings, repository)
    lines = []
    for name, problems in rebuilt.items():
        lines.append(f"{name}: index rebuilt, {len(problems)} problems")
        lines += [f"{name}: {problem}" for problem in problems]
    context.say({"rebuilt": rebuilt}, lines)
    if any(rebuilt.values()):
        raise click.exceptions.Exit(DONE_WITH_WARNINGS)


@click.command("status", short_help="Whether the server runs, and how much it keeps.")
@click.pass_obj
def status_(context: Context) -> None:
    """Whether the server runs, where it listens, and how much it keeps."""
    found = status(context.settings)
    context.say(found.to_json(), found.lines(time.time_ns()))


COMMANDS = {"status": status_, "rebuild-index": rebuild_index_}
