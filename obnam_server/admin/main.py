"""The ``obnam-server`` command: who may use the server, and its store's health.

Works beside a running server and without one. Prints text for people, or JSON with ``--json``.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from attrs import frozen

from obnam.errors import ObnamError
from obnam.model.ids import (
    ClientName,
    RepositoryName,
    parse_client_name,
    parse_repository_name,
)
from obnam.wire.messages import SCOPES
from obnam_server.admin.clients import client_line, client_to_json, invite, list_clients, revoke
from obnam_server.admin.status import rebuild, status
from obnam_server.config import Settings, load

DEFAULT_CONFIG = Path("/etc/obnam/server.yaml")
FAILED = 1
WRONG_USAGE = 2
DONE_WITH_WARNINGS = 3
"""Exit codes, those of ``docs/exit-codes.md``."""

EXPIRES_HOURS = 24.0
"""How long an invitation can be used, unless said otherwise."""


@frozen
class Context:
    """What every command gets: the configuration, and how to print."""

    settings: Settings
    as_json: bool

    def say(self, value: Any, lines: Sequence[str]) -> None:
        """Print a result, as JSON or as lines."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2))
        else:
            for line in lines:
                click.echo(line)


def _named(parse: Callable[[str], str]) -> Callable[[Any, Any, str | None], str | None]:
    """What checks an argument that is a client's or a repository's name."""

    def check(context: Any, parameter: Any, value: str | None) -> str | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: {error}", context, parameter) from error

    return check


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The server's configuration file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(package_name="obnam", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, path: Path, as_json: bool) -> None:
    """Look after an Obnam chunk server. Run it as the user that the server runs as."""
    context.obj = Context(load(path), as_json)


@cli.group()
def client() -> None:
    """Who may use the server."""


@client.command()
@click.argument("name", callback=_named(parse_client_name))
@click.option(
    "--repository", callback=_named(parse_repository_name), help="Join this one.  [default: NAME]"
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=("backup", "restore"),
    show_default=True,
    help="What the client may do; may be given several times.",
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
    """Invite the computer NAME: prints the line that `obnam init` wants there."""
    expires_ns = time.time_ns() + round(expires_hours * 3600e9)
    invitation = invite(
        context.settings, name, repository or RepositoryName(name), scopes, expires_ns
    )
    context.say(invitation.to_json(), [str(invitation)])


@client.command("list")
@click.pass_obj
def list_(context: Context) -> None:
    """All clients."""
    found = list_clients(context.settings)
    context.say([client_to_json(each) for each in found], [client_line(each) for each in found])


@client.command("revoke")
@click.argument("name", callback=_named(parse_client_name))
@click.pass_obj
def revoke_(context: Context, name: ClientName) -> None:
    """Take the token of NAME away, at once. Its backups stay."""
    revoke(context.settings, name)
    context.say({"revoked": name}, [f"{name} can no longer use the server"])


@cli.command("rebuild-index")
@click.option("--repository", callback=_named(parse_repository_name), help="Only this one.")
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


@cli.command("status")
@click.pass_obj
def status_(context: Context) -> None:
    """Where the server listens, and how much it keeps."""
    found = status(context.settings)
    context.say(found.to_json(), found.lines())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command. The one place where errors become text and an exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    sys.exit(_code_of(given, as_json="--json" in given))


def _code_of(arguments: list[str], *, as_json: bool) -> int:
    # One that is closed (`>&-`) is as if it led to nowhere; and no other file gets its number.
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        # Not `cli.main`: that has its own way of ending when there is nobody to print to.
        with cli.make_context("obnam-server", arguments) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Abort:
        return 128 + signal.SIGINT
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        command = f"name a command; see `{error.ctx.command_path} --help`"
        _say(command if as_json else error.format_message(), "UsageError", as_json)
        return WRONG_USAGE
    except click.ClickException as error:
        failed = error.ctx if isinstance(error, click.UsageError) else None
        command = failed.command_path if failed is not None else "obnam-server"
        message = f"{error.format_message().removesuffix('.')}; see `{command} --help`"
        _say(f"obnam-server: {message}", "UsageError", as_json)
        return WRONG_USAGE
    except ObnamError as error:
        _say(f"obnam-server: {error}", type(error).__name__, as_json)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has left, such as `head`: not worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        _say(f"obnam-server: {where}{error.strerror or error}", "SystemError", as_json)
        return FAILED
    return 0


def _say(message: str, name: str, as_json: bool) -> None:
    """The last line: for people, or for programs."""
    if as_json:
        text = message.removeprefix("obnam-server: ")
        message = json.dumps({"error": name, "message": text, "temporary": False})
    click.echo(message, err=True)
