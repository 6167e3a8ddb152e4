"""``POST /v1/token``: another token, over HTTP."""

import json
from hashlib import sha256

import pytest

from tests.support.raw_backup import problem
from tests.support.server_in_memory import RawAnswer, ServerInMemory, Wire


def rotate(wire: Wire, token: str, new: str) -> RawAnswer:
    body = json.dumps({"token_sha256": sha256(new.encode()).hexdigest()}).encode()
    return wire.request("POST", "/v1/token", body, token=token)


def status(wire: Wire, token: str) -> int:
    return wire.request("GET", "/v1/repository", token=token).status


def test_the_new_one_ends_the_old_one_when_it_is_used(server: ServerInMemory) -> None:
    old, wire = server.token("laptop"), server.connect()
    for _ in range(2):
        assert rotate(wire, old, "new").status == 204
        assert status(wire, old) == 200
    assert [status(wire, "new"), status(server.connect(), old), status(wire, "new")] == [
        *(200, 401, 200)
    ]


def test_one_that_is_to_take_over_counts_whatever_it_asks(server: ServerInMemory) -> None:
    """Also for what it may not do: it was used."""
    old, wire = server.token("reader", scopes=("restore",)), server.connect()
    rotate(wire, old, "new")
    assert wire.request("POST", "/v1/sessions", b"{}", token="new").status == 403
    assert status(server.connect(), old) == 401


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token_sha256": "00"}', b"[]"])
def test_no_hash(server: ServerInMemory, body: bytes) -> None:
    old, wire = server.token("laptop"), server.connect()
    assert problem(wire.request("POST", "/v1/token", body, token=old)) == "bad-request"


def test_another_clients_token_is_not_to_be_had(server: ServerInMemory) -> None:
    mine, theirs = server.token("mine"), server.token("theirs")
    assert rotate(server.connect(), mine, theirs).status == 401
    assert [status(server.connect(), token) for token in (mine, theirs)] == [200, 200]
