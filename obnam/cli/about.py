"""Looking at ourselves: ``status``, ``config``, ``chunkify``."""

import json
import os
from typing import TYPE_CHECKING

import click

from obnam.cli.session import Session, session
from obnam.errors import DONE_WITH_WARNINGS

if TYPE_CHECKING:
    from obnam.browse.standing import Standing
    from obnam.wiring import Client


@click.command()
@session
def status(session: Session) -> int:
    """How this computer stands with its repository."""

    async def run(client: "Client") -> "Standing":
        standing = await client.standing()
        for warning in standing.warnings():
            client.surroundings.progress.warn(warning)
        return standing

    standing = session.with_client(run)
    session.say(standing.to_json(), standing.lines())
    return DONE_WITH_WARNINGS if standing.warnings() else 0


@click.command()
@session
def config(session: Session) -> None:
    """The settings in effect, as JSON, without secrets."""
    places = session.places
    settings = session.settings()
    value = {
        "configuration": str(places.configuration),
        "secrets": str(places.secrets),
        "cache": str(places.cache_home / "obnam"),
        "state": str(places.state_home / "obnam"),
        **settings.to_json(),
    }
    session.say(value, [json.dumps(value, indent=1)])


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@session
def chunkify(session: Session, files: tuple[str, ...]) -> None:
    """How files would be cut, as JSON. Nothing is sent."""
    from obnam.browse.cuts import cuts_of
    from obnam.browse.listing import name_to_json

    keys = session.keys()
    cut = [{**name_to_json(os.fsencode(path)), **cuts_of(path, keys).to_json()} for path in files]
    session.say(cut, [json.dumps(cut, indent=1)])


COMMANDS = {"status": status, "config": config, "chunkify": chunkify}
