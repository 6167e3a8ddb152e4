"""``obnam-server audit``: what was done, by whom. Reads the files; the server has no part in it."""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from obnam.errors import DONE_WITH_WARNINGS
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam_server.admin.context import Context, named
from obnam_server.store.accounts.audit import AUDIT_NAME
from obnam_server.store.accounts.audit_lines import FIRST_PREVIOUS, events, verified
from obnam_server.store.errors import BadDataDirectory


@click.command()
@click.option("--verify", is_flag=True, help="Check that the lines are whole and as written.")
@click.option("--repository", callback=named(parse_repository_name), help="Only of this one.")
@click.option("--last", type=click.IntRange(min=1), help="Only so many, the newest.")
@click.pass_obj
def audit(
    context: Context, verify: bool, repository: RepositoryName | None, last: int | None
) -> None:
    """What was done to the data, by whom and when."""
    data = context.settings.data_directory
    if not data.is_dir():
        raise BadDataDirectory(str(data), "is not there")
    folder = data / AUDIT_NAME
    if verify:
        _verify(context, folder)
        return
    wanted = (each for each in events(folder) if repository in (None, each["repository"]))
    shown: Iterable[dict[str, Any]] = wanted if last is None else deque(wanted, last)
    if context.as_json:
        found = list(shown)
        context.say(found, [])
        return
    for each in shown:
        click.echo(_line(each))


def _verify(context: Context, folder: Path) -> None:
    first, count, digest = 1, 0, FIRST_PREVIOUS
    for event, digest in verified(folder):  # noqa: B007  # the last one is wanted
        first = first if count else event["sequence"]
        count = event["sequence"]
    lines = [f"{count} events, all as they were written", f"SHA-256 of the last line: {digest}"]
    if first > 1:
        lines[:1] = [
            f"events {first} to {count}, all as they were written",
            f"those before {first} are not there: were the files with them moved away?",
        ]
    context.say({"events": count, "first": first, "last": digest}, lines)
    if first > 1:
        raise click.exceptions.Exit(DONE_WITH_WARNINGS)


def _line(event: Mapping[str, Any]) -> str:
    who = (
        f"client {event['client']}"
        if event["client"] is not None
        else "the server"
        if event["administrator"] is None
        else f"user {event['administrator']}"
    )
    details = " ".join(f"{key}={json.dumps(value)}" for key, value in event["details"].items())
    parts = (event["sequence"], event["time"], event["event"], event["repository"] or "-", who)
    return "\t".join((*map(str, parts), details))


COMMANDS = {"audit": audit}
