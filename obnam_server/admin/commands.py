"""The shape of ``obnam-server``: where each command is. Its module is imported when it is used."""

from importlib import import_module

import click

MODULES = {
    "alarm": "limit_commands",
    "audit": "audit_commands",
    "check": "upkeep_commands",
    "client": "client_commands",
    "collect": "upkeep_commands",
    "compact": "upkeep_commands",
    "generation": "generation_commands",
    "init": "init_command",
    "quota": "limit_commands",
    "rebuild-index": "status_commands",
    "repository": "repository_commands",
    "retention": "retention_commands",
    "scrub": "upkeep_commands",
    "status": "status_commands",
}
"""Command -> module of `obnam_server.admin` that has it, in the order of ``--help``."""


class Commands(click.Group):
    """The group whose commands are `MODULES`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, which is imported now."""
        if cmd_name not in MODULES:
            return None
        module = import_module(f"obnam_server.admin.{MODULES[cmd_name]}")
        command: click.Command = module.COMMANDS[cmd_name]
        return command
