"""Groups of commands whose modules are imported when they are used: a command line begins at once.

Both programs have one.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """The group of the commands in ``modules``: name -> module of ``package`` that has it, in the
    order of ``--help``. Each such module has ``COMMANDS``: name -> command.
    """

    package: ClassVar[str]
    modules: ClassVar[Mapping[str, str]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, which is imported now."""
        if cmd_name not in self.modules:
            return None
        module = import_module(f"{self.package}.{self.modules[cmd_name]}")
        command: click.Command = module.COMMANDS[cmd_name]
        return command
