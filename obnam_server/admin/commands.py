"""The shape of ``obnam-server``: where each command is. Its module is imported when it is used."""

from obnam.lazy_group import LazyGroup

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


class Commands(LazyGroup):
    """The group whose commands are `MODULES`."""

    package = "obnam_server.admin"
    modules = MODULES
