"""``obnam key``: the passphrases that bring the master key back, and this computer's token."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from obnam import credentials
from obnam.cli.passphrase import passphrases
from obnam.cli.session import Session, session
from obnam.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obnam.wire.messages import KeyringSlot
    from obnam.wiring import Client, Surroundings

_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="Do not ask for the new one: it is the first line of this file.",
)


@click.group(short_help="Passphrases, and this computer's token.")
def key() -> None:
    """The passphrases that bring the master key back, and this computer's token."""


@key.command("list")
@session
def list_(session: Session) -> None:
    """The slots of the keyring: id and label."""

    async def run(client: "Client") -> "Sequence[KeyringSlot]":
        return await client.slots().list()

    slots = session.with_client(run)
    session.say(
        [{"slot": each.slot, "label": each.label} for each in slots],
        [f"{each.slot}  {_printable(each.label)}" for each in slots],
    )


@key.command()
@click.option("--label", help="What to call it.  [default: the name of this client]")
@_file
@session
def add(session: Session, label: str | None, passphrase_file: Path | None) -> None:
    """One more passphrase."""

    async def run(client: "Client") -> "KeyringSlot":
        slots = client.slots(label)
        await slots.check_add()
        return await slots.add(client.credentials.master, _new(passphrase_file))

    _say(session, "added", session.with_client(run))


@key.command(short_help="Another passphrase in the place of that of SLOT.")
@click.argument("slot", required=False)
@_file
@session
def change(session: Session, slot: str | None, passphrase_file: Path | None) -> None:
    """Another passphrase in the place of that of SLOT (its id or label).

    SLOT may be left out when there is only one. Needs the scope `manage`.
    """

    async def run(client: "Client") -> "KeyringSlot":
        slots = client.slots()
        await slots.check_replace(slot)
        return await slots.replace(slot, client.credentials.master, _new(passphrase_file))

    _say(session, "changed", session.with_client(run))


@key.command()
@click.argument("slot")
@session
def remove(session: Session, slot: str) -> None:
    """Take SLOT (its id or label) away. Needs the scope `manage`."""

    async def run(client: "Client") -> "KeyringSlot":
        return await client.slots().remove(slot)

    _say(session, "removed", session.with_client(run))


@key.command("rotate-token", short_help="Another token for this computer.")
@session
def rotate_token(session: Session) -> None:
    """Another token for this computer; the server refuses the old one from then on."""
    settings, secrets = session.settings(), session.places.secrets
    with credentials.held(secrets):
        known = credentials.load(secrets)
        if known.location.directory is not None:
            raise UsageError("a repository in a directory is open to whoever can use the directory")

        async def run(surroundings: "Surroundings") -> None:
            from obnam.rotating import rotate_token

            await rotate_token(surroundings, settings, known)

        session.run(run)
    session.say({"rotated": known.client}, [f"client {known.client} has another token"])


def _new(passphrase_file: Path | None) -> str:
    passphrase = passphrases(passphrase_file)(new=True)
    if passphrase is None:
        raise UsageError("a passphrase is needed")
    return passphrase


def _say(session: Session, done: str, slot: "KeyringSlot") -> None:
    session.say(
        {done: slot.slot, "label": slot.label}, [f"{done}: {slot.slot}  {_printable(slot.label)}"]
    )


def _printable(label: str) -> str:
    return label if label.isprintable() else ascii(label)


COMMANDS = {"key": key}
