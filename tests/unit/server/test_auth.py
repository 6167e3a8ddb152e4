"""What is taken for a token, of all that may stand in an ``Authorization`` header."""

import pytest

from obnam_server.auth import TOKEN_MAX, _bearer
from obnam_server.sharing.failures import FAILURES_AT_ONCE
from tests.support.raw_backup import problem
from tests.support.server_in_memory import ServerInMemory

LONGEST = "x" * TOKEN_MAX


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        (b"Bearer to-ken", "to-ken"),
        (b"bEARER to-ken", "to-ken"),
        (b"Bearer " + LONGEST.encode(), LONGEST),
        (b"Bearer " + LONGEST.encode() + b"x", None),
        (b"Bearer to\xc3\xa9ken", None),
        (b"Bearer ", None),
        (b"Bearer", None),
        (b"Basic to-ken", None),
        (b"", None),
        (None, None),
    ],
)
def test_tokens(authorization: bytes | None, token: str | None) -> None:
    assert _bearer(authorization) == token


@pytest.mark.parametrize("authorization", [None, "Basic me", "Bearer \xe9"])
def test_who_shows_no_token_fails_too(server: ServerInMemory, authorization: str | None) -> None:
    """As often as who shows a wrong one, and then waits as long."""
    line = "" if authorization is None else f"Authorization: {authorization}\r\n"
    head = f"GET /v1/repository HTTP/1.1\r\n{line}\r\n".encode("latin-1")
    problems = []
    for _ in range(FAILURES_AT_ONCE + 1):
        wire = server.connect()
        wire.send(head)
        problems.append(problem(wire.answer()))
    assert problems == ["unauthenticated"] * FAILURES_AT_ONCE + ["too-many-failures"]
