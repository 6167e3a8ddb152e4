"""How an operation's failure goes over the socket, and comes out as it was at the other end."""

from collections.abc import Mapping
from typing import Any

from attrs import define

from obnam.errors import FAILED, ObnamError

ERROR_MEMBER = "error"
EXIT_CODE_MEMBER = "exit_code"
"""Extension members of the problem document: what the command makes of the error."""


@define(eq=False)
class OperationFailed(ObnamError):
    """The running server did not do what it was asked for; ``name``: the class of its error."""

    name: str
    problem: str
    exit_code: int = FAILED  # type: ignore[misc]  # what it was at the other end

    def __str__(self) -> str:
        return self.problem


def error_name(error: ObnamError) -> str:
    """What ``--json`` calls an error, wherever it happened."""
    return error.name if isinstance(error, OperationFailed) else type(error).__name__


def failure_in(document: Any) -> OperationFailed:
    """The error that a problem document tells of."""
    if not isinstance(document, Mapping):
        document = {}
    name = document.get(ERROR_MEMBER)
    code = document.get(EXIT_CODE_MEMBER)
    return OperationFailed(
        name if isinstance(name, str) else "ServerFailed",
        str(
            document.get("detail") or document.get("title") or "the server's answer makes no sense"
        ),
        code if isinstance(code, int) else FAILED,
    )
