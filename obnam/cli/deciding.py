"""Deciding what becomes of generations: ``forget``, ``undelete``, ``pin``, ``unpin``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from obnam.cli.commands import REFERENCES
from obnam.cli.session import Session, session
from obnam.errors import UsageError

if TYPE_CHECKING:
    from obnam.browse.deciding import Decided
    from obnam.wire.listing import ListedGeneration
    from obnam.wiring import Client


@click.command(short_help="Put generations into the trash.", epilog=REFERENCES)
@click.argument("references", metavar="REF...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@session
def forget(session: Session, references: tuple[str, ...], dry_run: bool) -> int:
    """Put generations into the trash, from where `undelete` brings them back."""

    async def run(client: "Client") -> "Decided":
        from obnam.browse import deciding

        return await deciding.forget(
            client.repository,
            await session.catalogue(client, *references),
            references,
            client.surroundings.progress,
            dry_run=dry_run,
        )

    def tell(decided: "Decided") -> None:
        done = "would go to the trash" if dry_run else "in the trash"
        _say(session, decided, done, "in the trash already")

    session.with_client(run, tell=tell, upkeep=not dry_run)
    return session.code


@click.command(short_help="Take generations out of the trash.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@session
def undelete(session: Session, ids: tuple[str, ...]) -> int:
    """Take generations out of the trash; `list --trash` shows their IDs."""

    async def run(client: "Client") -> "Decided":
        from obnam.browse import deciding

        catalogue = await session.catalogue(client, *ids)
        return await deciding.undelete(client.repository, catalogue, ids)

    _say(session, session.with_client(run), "out of the trash", "was not in the trash")
    return session.code


@click.command(short_help="Keep a generation, whatever the policy says.", epilog=REFERENCES)
@click.argument("reference", metavar="REF")
@click.option("--reason", metavar="TEXT", required=True, help="Why; the server can read it.")
@session
def pin(session: Session, reference: str, reason: str) -> int:
    """Keep the generation REF, whatever the server's policy says, until it is unpinned."""
    from obnam.wire.limits import PIN_REASON_MAX

    if not 0 < len(reason.strip()) <= len(reason) <= PIN_REASON_MAX:
        raise UsageError(f"--reason wants a text, of at most {PIN_REASON_MAX} characters")

    async def run(client: "Client") -> "ListedGeneration":
        from obnam.browse import deciding

        catalogue = await session.catalogue(client, reference)
        return await deciding.pin(client.repository, catalogue, reference, reason)

    _say_one(session, session.with_client(run))
    return session.code


@click.command(short_help="Let a generation be deleted again.", epilog=REFERENCES)
@click.argument("reference", metavar="REF")
@session
def unpin(session: Session, reference: str) -> int:
    """Let the generation REF be deleted again, by the server's policy or by `forget`."""

    async def run(client: "Client") -> "ListedGeneration":
        from obnam.browse import deciding

        catalogue = await session.catalogue(client, reference)
        return await deciding.unpin(client.repository, catalogue, reference)

    _say_one(session, session.with_client(run))
    return session.code


def _say(session: Session, decided: "Decided", done: str, already: str) -> None:
    from obnam.browse.listing import generation_to_json, summary_line, until

    def lines(which: "Sequence[ListedGeneration]", what: str) -> Iterator[str]:
        for each in which:
            yield f"{summary_line(each.summary)}: {what}{until(each)}"

    session.say(
        {
            "done": [generation_to_json(each) for each in decided.done],
            "already": [generation_to_json(each) for each in decided.already],
        },
        [*lines(decided.done, done), *lines(decided.already, already)],
    )


def _say_one(session: Session, listed: "ListedGeneration") -> None:
    from obnam.browse.listing import generation_line, generation_to_json

    session.say(generation_to_json(listed), [generation_line(listed)])


COMMANDS = {"forget": forget, "undelete": undelete, "pin": pin, "unpin": unpin}
