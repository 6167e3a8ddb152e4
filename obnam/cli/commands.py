"""The command line's shape: the options before the command, and where each command is.

A command's module is imported when the command is used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import define

from obnam import __version__
from obnam.lazy_group import LazyGroup

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

MODULES = {
    "init": "joining",
    "backup": "backing_up",
    "list": "looking",
    "resolve": "looking",
    "show-generation": "looking",
    "list-files": "looking",
    "restore": "getting_back",
    "verify": "getting_back",
    "forget": "deciding",
    "undelete": "deciding",
    "pin": "deciding",
    "unpin": "deciding",
    "damage": "looking",
    "status": "about",
    "receipt": "proving",
    "accept-history": "proving",
    "accept-server": "proving",
    "config": "about",
    "chunkify": "about",
    "key": "keys",
}
"""Command -> module of `obnam.cli` that has it, in the order of ``--help``."""


REFERENCES = "REF: latest, latest~1, an id or how it begins, @2026-11-01, or @2026-11-01T09:30."
"""Below the help of each command that takes one."""


@define
class Options:
    """What stands before the command, and the way to the reactor."""

    reactor: "Callable[[], ReactorBase]"
    configuration: Path | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False


class Commands(LazyGroup):
    """The group whose commands are `MODULES`."""

    package = "obnam.cli"
    modules = MODULES


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The manual is in docs/manual; exit codes are 0 fine, 1 failed, 2 wrong usage, "
    "3 done with warnings.",
)
@click.option(
    "--config",
    "configuration",
    type=click.Path(path_type=Path),
    help="The configuration file.  [default: ~/.config/obnam/obnam.yaml]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: results, progress and errors.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.version_option(__version__, prog_name="obnam", message="%(prog)s %(version)s")
@click.pass_obj
def cli(
    options: Options, configuration: Path | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Encrypted, deduplicating backups."""
    options.configuration = configuration
    options.as_json, options.quiet, options.verbose = as_json, quiet, verbose
