"""The ``obnam-server`` command: who may use the server, and its store's health.

Asks the running server, or does without one. Prints text for people, or JSON with ``--json``. The
commands are in files by family (see `obnam_server.admin.commands`); here is how each of them ends.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
from click.core import ParameterSource

from obnam.errors import FAILED, WRONG_USAGE, ObnamError
from obnam_server.admin.commands import Commands
from obnam_server.admin.context import Context
from obnam_server.administration.answers import error_name

DEFAULT_CONFIG = Path("/etc/obnam/server.yaml")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The server's configuration file.",
)
@click.option(
    "--data-directory",
    type=click.Path(path_type=Path),
    help="A data directory without a configuration, such as that of `obnam init --repository`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(package_name="obnam", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, path: Path, data_directory: Path | None, as_json: bool) -> None:
    """Look after an Obnam chunk server. Run it as the user that the server runs as."""
    named = context.get_parameter_source("path") is not ParameterSource.DEFAULT
    if data_directory is not None and named:
        raise click.UsageError("--config and --data-directory: give one of the two")
    context.obj = Context(path, as_json, data_directory)


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
        _say(f"obnam-server: {error}", error_name(error), as_json)
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
