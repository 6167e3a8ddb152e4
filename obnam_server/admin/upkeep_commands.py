"""``obnam-server collect``, ``compact``, ``scrub``, ``check``: upkeep now, not in a round."""

import click

from obnam.errors import DONE_WITH_WARNINGS
from obnam.model.figures import size_text
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam_server.admin.context import Context, named

_REPOSITORY = click.argument("repository", callback=named(parse_repository_name))


@click.command()
@_REPOSITORY
@click.pass_obj
def collect(context: Context, repository: RepositoryName) -> None:
    """How much of REPOSITORY no generation needs any more. Changes nothing."""
    found = context.call("collect", repository=repository)
    dead, whole = size_text(found["dead_bytes"]), size_text(found["size_bytes"])
    freed = size_text(found["to_be_freed_bytes"])
    line = f"{repository}: {dead} of {whole} are dead; compaction would free {freed} now"
    context.say(found, [line])


@click.command()
@_REPOSITORY
@click.pass_obj
def compact(context: Context, repository: RepositoryName) -> None:
    """Give back what no generation of REPOSITORY needs any more."""
    found = context.call("compact", repository=repository)
    freed, dead = size_text(found["freed_bytes"]), size_text(found["dead_bytes"])
    lines = [f"{repository}: {freed} of {dead} dead freed"]
    if found["left"]:
        lines.append(f"{found['left']} groups of segments were left alone; see the server's log")
    context.say(found, lines)
    if found["left"]:
        raise click.exceptions.Exit(DONE_WITH_WARNINGS)


@click.command(short_help="Read all there is, and note what is damaged.")
@_REPOSITORY
@click.pass_obj
def scrub(context: Context, repository: RepositoryName) -> None:
    """Read all that REPOSITORY has, and note what is damaged: the next backup makes it again."""
    found = context.call("scrub", repository=repository)
    lines = [f"{repository}: {line}" for line in found["findings"]]
    rest = "; the next backups heal what they still have" if found["damaged_chunk_count"] else ""
    lines.append(
        f"{repository}: {found['segments']} segments, {size_text(found['size_bytes'])} read; "
        f"{found['damaged']} damaged chunks found, {found['damaged_chunk_count']} not healed yet"
        f"{rest}"
    )
    context.say(found, lines)
    if found["findings"] or found["damaged_chunk_count"]:
        raise click.exceptions.Exit(DONE_WITH_WARNINGS)


@click.command(short_help="Whether segments, index and generations agree.")
@_REPOSITORY
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@click.pass_obj
def check(context: Context, repository: RepositoryName, repair: bool) -> None:
    """Whether segments, index and generations of REPOSITORY say the same."""
    found = context.call("repair" if repair else "check", repository=repository)
    lines = [f"{repository}: {each['line']}" for each in found["findings"]]
    context.say(found, lines or [f"{repository}: all is well"])
    if not all(each["repaired"] for each in found["findings"]):
        raise click.exceptions.Exit(DONE_WITH_WARNINGS)


COMMANDS = {"check": check, "collect": collect, "compact": compact, "scrub": scrub}
