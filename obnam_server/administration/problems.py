"""What an administrator is told of an operation that failed: unlike a client, everything."""

import json

from obnam.errors import FAILED, ObnamError
from obnam.wire.members import BadMessage
from obnam.wire.problems import INTERNAL
from obnam_server.administration.answers import ERROR_MEMBER, EXIT_CODE_MEMBER
from obnam_server.problems import refusal_of


def problem_of(error: BaseException | None) -> tuple[int, bytes] | None:
    """HTTP status and problem document for an error; ``None``: it is our own mistake."""
    refused = refusal_of(error)
    if not isinstance(error, ObnamError | BadMessage):
        return None
    problem = INTERNAL if refused is None else refused.problem
    members = {
        ERROR_MEMBER: type(error).__name__,
        EXIT_CODE_MEMBER: getattr(error, "exit_code", FAILED),
    }
    return problem.status, json.dumps(problem.to_json(str(error), **members)).encode("utf-8")
