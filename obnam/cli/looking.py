"""Looking at generations: ``list``, ``resolve``, ``show-generation``, and so on."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obnam.cli.commands import REFERENCES
from obnam.cli.session import Session, session
from obnam.errors import FAILED

if TYPE_CHECKING:
    from obnam.browse.damage import DamageReport
    from obnam.model.ids import GenerationId
    from obnam.repository.opening import OpenedGeneration
    from obnam.wire.listing import ListedGeneration
    from obnam.wiring import Client

LINES_AT_ONCE = 2000
"""Entries that are printed in one go."""


@click.command("list")
@click.option("--trash", is_flag=True, help="Those that were deleted, and can be had back.")
@session
def list_(session: Session, trash: bool) -> int:
    """All generations, oldest first."""

    async def run(client: "Client") -> "Sequence[ListedGeneration]":
        if trash:
            return await client.repository.list_trash()
        return (await session.catalogue(client)).listed

    listed = session.with_client(run)
    from obnam.browse.listing import generation_line, generation_to_json

    session.say([generation_to_json(each) for each in listed], map(generation_line, listed))
    return session.code


@click.command(epilog=REFERENCES)
@click.argument("reference", metavar="REF")
@session
def resolve(session: Session, reference: str) -> None:
    """The id of the generation that REF stands for."""

    async def run(client: "Client") -> "GenerationId":
        return await session.find(client, reference)

    generation = session.with_client(run)
    session.say({"generation": generation}, [generation])


@click.command("show-generation", epilog=REFERENCES)
@click.argument("reference", metavar="[REF]", default="latest")
@session
def show_generation(session: Session, reference: str) -> None:
    """What a generation knows about itself.

    Without REF: the latest.
    """

    async def run(client: "Client") -> "tuple[OpenedGeneration, bool | None]":
        opened = await client.generations.get(await session.find(client, reference))
        return opened, client.generations.history.is_verified(opened)

    opened, verified = session.with_client(run)
    from obnam.browse.listing import description, description_lines

    session.say(description(opened, verified), description_lines(opened, verified))


@click.command(
    "list-files", short_help="The entries of a generation: kind, path, reason.", epilog=REFERENCES
)
@click.argument("reference", metavar="[REF]", default="latest")
@session
def list_files(session: Session, reference: str) -> None:
    """The entries of a generation: kind, path, and in brackets the reason.

    Without REF: of the latest.
    """

    async def run(client: "Client") -> None:
        opened = await client.generations.get(await session.find(client, reference))
        path = await client.generations.database(opened)
        try:
            await client.thread.call(_print_entries, session, path)
        finally:
            path.unlink(missing_ok=True)

    session.with_client(run)


def _print_entries(session: Session, path: Path) -> None:
    """A line an entry; as JSON, too: there may be millions."""
    from obnam.browse import listing

    if session.options.quiet:
        return
    lines: Iterator[str] = (
        (json.dumps(listing.entry_to_json(entry)) for entry in listing.entries(path))
        if session.options.as_json
        else map(listing.entry_line, listing.entries(path))
    )
    while some := list(islice(lines, LINES_AT_ONCE)):
        print("\n".join(some))


@click.command(short_help="What is damaged on the server and not healed yet.", epilog=REFERENCES)
@click.argument("reference", metavar="[REF]", required=False)
@session
def damage(session: Session, reference: str | None) -> int:
    """Generations and files that are damaged on the server, and not healed yet."""

    async def run(client: "Client") -> "DamageReport":
        from obnam.browse.damage import Damage

        only = None if reference is None else await session.find(client, reference)
        return await Damage(client.repository, client.generations, client.thread).report(only)

    report = session.with_client(run)
    session.say(report.to_json(), report.lines())
    if report.chunks:
        return FAILED
    return session.code


COMMANDS = {
    "list": list_,
    "resolve": resolve,
    "show-generation": show_generation,
    "list-files": list_files,
    "damage": damage,
}
