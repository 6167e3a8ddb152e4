"""What the server has signed, and going on when it has not kept to it.

``receipt``, ``accept-history``, ``accept-server``.
"""

import json
import re
import time
from typing import TYPE_CHECKING

import click

from obnam import credentials
from obnam.cli.commands import REFERENCES
from obnam.cli.session import Session, session
from obnam.errors import UsageError
from obnam.history_errors import AnotherClient, HistoryBroken

if TYPE_CHECKING:
    from obnam.repository.proofs import Proof
    from obnam.repository.state import Loss
    from obnam.wiring import Client

KEPT_PREFIX = re.compile(r"[0-9a-f]{8,32}")
"""What is long enough an id to look for among the receipts that are kept here."""


@click.command(short_help="The server's signed receipt for a generation.", epilog=REFERENCES)
@click.argument("reference", metavar="[REF]", required=False)
@session
def receipt(session: Session, reference: str | None) -> None:
    """The server's signed receipt for a generation, as JSON: a proof for others.

    Without REF, the newest receipt that is kept on this computer; the server is not asked.
    """
    from obnam.browse.standing import receipt_to_json

    proof = _kept(session, reference) or _asked(session, reference)
    value = receipt_to_json(proof)
    session.say(value, [json.dumps(value, indent=1)])


def _kept(session: Session, reference: str | None) -> "Proof | None":
    """A receipt that is kept here: good whatever the server says now."""
    from obnam.repository import state

    if reference is not None and not KEPT_PREFIX.fullmatch(reference):
        return None
    path = state.state_file(session.places.state_home, session.keys().fingerprint)
    client = credentials.load(session.places.secrets).client
    return state.load(path).proof_for(client, reference or "")


def _asked(session: Session, reference: str | None) -> "Proof":
    if reference is None:
        raise UsageError("no receipt is kept here yet; each `obnam backup` brings one")
    wanted = reference

    async def run(client: "Client") -> "Proof | None":
        opened = await client.generations.get(await session.find(client, wanted))
        return client.generations.history.proof_of(opened)

    proof = session.with_client(run)
    if proof is None:
        raise UsageError(
            f"{reference}: its receipt does not bear the signature of the server's key"
        )
    return proof


@click.command("accept-history", short_help="Go on with the generations that the server has.")
@click.option("--yes", is_flag=True, help="Do it; without this, only say what is not as it was.")
@session
def accept_history(session: Session, yes: bool) -> None:
    """Go on with the generations that the server has, though there were others.

    For a server that was restored from an old copy of itself: ask its administrator first.
    """

    async def run(client: "Client") -> "Loss | str | None":
        from obnam.browse import accepting

        if yes:
            return await accepting.accept_history(
                client.repository, client.generations, time.time_ns()
            )
        try:
            await accepting.check_history(client.repository, client.generations)
        except AnotherClient:
            raise  # Not to be accepted.
        except HistoryBroken as error:
            return str(error)
        return None

    found = session.with_client(run)
    if isinstance(found, str):
        raise UsageError(f"nothing was changed; to accept this, add --yes: {found}")
    if found is None:
        session.say({"lost": None}, ["nothing to accept: no generation seen from here is gone"])
        return
    session.say(
        {"lost": found.count, "generation": found.generation},
        [f"accepted: {found.count} generations are lost, up to {found.generation}"],
    )


@click.command("accept-server", short_help="Trust a server that has another key.")
@click.argument("key")
@session
def accept_server(session: Session, key: str) -> None:
    """Trust the server whose public key is KEY, in the place of the one known so far.

    On the server, `obnam-server status` shows its key.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise UsageError("KEY must be 64 hexadecimal digits, as `obnam-server status` shows them")

    async def run(client: "Client") -> None:
        from obnam.browse import accepting

        await accepting.accept_server(client.repository, client.generations, bytes.fromhex(key))

    session.with_client(run)
    session.say({"server_key": key}, [f"server-key: {key}"])


COMMANDS = {
    "receipt": receipt,
    "accept-history": accept_history,
    "accept-server": accept_server,
}
