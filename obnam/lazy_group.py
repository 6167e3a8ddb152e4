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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; what may have been meant if there is none."""
        if args[0] not in self.modules:
            from difflib import get_close_matches  # seldom needed

            for meant in get_close_matches(args[0], self.modules, 1):
                ctx.fail(f"No such command {args[0]!r} (did you mean {meant!r}?)")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. An option that is there, but behind the command, is a common slip."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            ours = {option for parameter in self.params for option in parameter.opts}
            if error.ctx is None or error.ctx is ctx or error.option_name not in ours:
                raise
            before = f"{ctx.command_path} {error.option_name}"
            behind = error.ctx.command_path.removeprefix(f"{ctx.command_path} ")
            problem = f"{error.option_name} stands before the command: {before} {behind}"
            raise click.UsageError(problem, error.ctx) from error
