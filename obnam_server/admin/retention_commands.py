"""``obnam-server retention …``: what is kept, and for how long."""

import json
from pathlib import Path

import click

from obnam.model.ids import RepositoryName, parse_repository_name
from obnam_server.admin.context import Context, named
from obnam_server.upkeep.policy import read_policy

_REPOSITORY = click.argument("repository", callback=named(parse_repository_name))


@click.group()
def retention() -> None:
    """What is kept, and for how long."""


@retention.command(short_help="The policy, what keeps each generation, and what goes.")
@_REPOSITORY
@click.pass_obj
def show(context: Context, repository: RepositoryName) -> None:
    """The policy of REPOSITORY, what keeps each generation, and what would go now."""
    found = context.call("retention-show", repository=repository)
    policy = found["policy"]
    text = "none, everything is kept" if policy is None else json.dumps(policy)
    context.say(found, [f"policy: {text}", *found["lines"]])


@retention.command("set", short_help="Let the policy in FILE be in force in REPOSITORY.")
@_REPOSITORY
@click.argument(
    "file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.pass_obj
def set_(context: Context, repository: RepositoryName, file: Path) -> None:
    """Let the policy in FILE (JSON; `-`: standard input) be in force in REPOSITORY."""
    with click.open_file(str(file), encoding="utf-8") as stream:
        policy = read_policy(stream.read())
    document = None if policy is None else policy.to_json()
    found = context.call("retention-set", repository=repository, policy=document)
    shown = "everything is kept" if policy is None else json.dumps(found["policy"])
    context.say(found, [f"{repository}: {shown}"])


@retention.command()
@_REPOSITORY
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_obj
def run(context: Context, repository: RepositoryName, dry_run: bool) -> None:
    """Do now in REPOSITORY what the next round would do."""
    operation = "retention-show" if dry_run else "retention-run"
    found = context.call(operation, repository=repository)
    lines = list(found["lines"])
    if not found.get("done", True):
        lines.append("nothing was done: somebody decided something meanwhile; run it again")
    context.say(found, lines)


COMMANDS = {"retention": retention}
