"""``obnam-server client …``: who may use the server."""

import time

import click

from obnam.model.ids import ClientName, RepositoryName, parse_client_name, parse_repository_name
from obnam.wire.messages import SCOPES
from obnam_server.admin.clients import client_line, invite
from obnam_server.admin.context import Context, named

SCOPES_AT_FIRST = ("backup", "restore")
"""Of a client that was never invited: it can delete nothing."""

EXPIRES_HOURS = 24.0
"""How long an invitation can be used, unless said otherwise."""


@click.group()
def client() -> None:
    """Who may use the server."""


@client.command(short_help="Invite the computer NAME.")
@click.argument("name", callback=named(parse_client_name))
@click.option(
    "--repository",
    callback=named(parse_repository_name),
    help="Join this one.  [default: that which it had, or NAME]",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help="What the client may do; may be given several times.  [default: what it could before, "
    "or backup, restore]",
)
@click.option(
    "--expires-hours",
    type=click.FloatRange(min=0, min_open=True, max=24 * 365),
    default=EXPIRES_HOURS,
    show_default=True,
    help="How long the invitation can be used.",
)
@click.pass_obj
def add(
    context: Context,
    name: ClientName,
    repository: RepositoryName | None,
    scopes: tuple[str, ...],
    expires_hours: float,
) -> None:
    """Invite the computer NAME: prints the line that `obnam init` wants there.

    One that was invited before, even if it was revoked, is invited as what it was.
    """
    expires_ns = time.time_ns() + round(expires_hours * 3600e9)
    if repository is None or not scopes:
        known = {each["name"]: each for each in context.call("client-list")["clients"]}
        before = known.get(name, {"repository": name, "scopes": SCOPES_AT_FIRST})
        repository, scopes = repository or before["repository"], scopes or before["scopes"]
    invitation = invite(context.settings, name, repository, scopes, expires_ns)
    context.say(invitation.to_json(), [str(invitation)])


@client.command("list")
@click.pass_obj
def list_(context: Context) -> None:
    """All clients."""
    found = context.call("client-list")["clients"]
    context.say(found, [client_line(each) for each in found])


@client.command()
@click.argument("name", callback=named(parse_client_name))
@click.option("--force", is_flag=True, help="Even if nobody is left to manage its repository.")
@click.pass_obj
def revoke(context: Context, name: ClientName, force: bool) -> None:
    """Take the token of NAME away, at once. Its backups stay."""
    found = context.call("client-revoke", client=name, force=force)
    context.say(found, [f"{name} can no longer use the server"])


COMMANDS = {"client": client}
