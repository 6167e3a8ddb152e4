"""What all commands share: the configuration, how to ask the server, how to print."""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from obnam.wire.members import Json
from obnam_server.admin.calling import call
from obnam_server.config import Settings, load
from obnam_server.store.errors import BadDataDirectory


@frozen
class Context:
    """What every command gets. ``data_directory``: one without a configuration, in its place."""

    path: Path
    as_json: bool
    data_directory: Path | None = None

    @property
    def settings(self) -> Settings:
        """The configuration. `ConfigurationError`, `BadDataDirectory`."""
        if self.data_directory is None:
            return load(self.path)
        data = self.data_directory.absolute()
        # Nothing is to be made where a disk is not mounted.
        if not (data / "format").exists():
            problem = "is no data directory of obnam-server; is the disk mounted?"
            raise BadDataDirectory(str(data), problem)
        return Settings(data, data, listen=())

    def call(self, operation: str, **arguments: Any) -> Json:
        """Have it done, by the running server or without one. See `obnam_server.admin.calling`."""
        return call(self.settings, operation, arguments)

    def say(self, value: Any, lines: Sequence[str]) -> None:
        """Print a result, as JSON or as lines. What stands between tabs is a column."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2))
        else:
            for line in aligned(lines) if sys.stdout.isatty() else lines:
                click.echo(line)


def aligned(lines: Sequence[str]) -> list[str]:
    """Lines for people: columns under each other. Programs get the tabs."""
    rows = [line.split("\t") for line in lines]
    columns = zip_longest(*(row for row in rows if len(row) > 1), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=False)).rstrip()
        if len(row) > 1
        else row[0]
        for row in rows
    ]


def named(parse: Callable[[str], str]) -> Callable[[Any, Any, str | None], str | None]:
    """What checks an argument that is a client's or a repository's name."""

    def check(context: Any, parameter: Any, value: str | None) -> str | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: {error}", context, parameter) from error

    return check
