"""A client is revoked, or gets another token, while a request of it is under way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam.errors import AccessDenied
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.accounts.clients import Clients
from tests.support.raw_backup import backed_up, begin, frames, problem
from tests.support.server_in_memory import HOUR_NS, ServerInMemory, Wire
from tests.support.stored import ALICE, HOME, START_NS, Clock, digest

LAPTOP = ClientName("laptop")
SCOPES = ("backup", "restore")


def rotation(token: str) -> bytes:
    return json.dumps({"token_sha256": digest(token)}).encode()


def half(server: ServerInMemory, token: str, path: str, body: bytes, **more: str) -> Wire:
    """A connection on which all of a request has come in but for its last byte."""
    wire = server.connect()
    wire.send(wire.head("POST", path, body, token=token, **more)[:-1])
    assert wire.nothing()
    return wire


def status(server: ServerInMemory, token: str) -> int:
    return server.connect().request("GET", "/v1/repository", token=token).status


def invited_again(server: ServerInMemory) -> str:
    clients = server.store.clients
    clients.revoke(LAPTOP)
    code = clients.invite(LAPTOP, RepositoryName("laptop"), SCOPES, 2 * HOUR_NS)
    clients.enrol(code, digest("its own new one"))
    return "its own new one"


def rotated(server: ServerInMemory) -> str:
    server.store.clients.rotate(LAPTOP, digest("its own new one"))
    assert status(server, "its own new one") == 200
    return "its own new one"


@pytest.mark.parametrize("replaced", [invited_again, rotated])
def test_a_thief_cannot_set_the_next_token(
    server: ServerInMemory, replaced: Callable[[ServerInMemory], str]
) -> None:
    """He held a request back until his stolen token was replaced."""
    stolen = server.token("laptop")
    wire = half(server, stolen, "/v1/token", rotation("the thief's"))
    own = replaced(server)
    wire.send(b"}")
    answer = wire.answer()
    assert (answer.status, problem(answer)) == (401, "unauthenticated")
    assert status(server, "the thief's") == 401
    assert status(server, own) == 200


def test_an_upload_that_was_under_way_leaves_nothing(
    server: ServerInMemory, tmp_path: Path
) -> None:
    token, colleague = server.token("laptop"), server.token("colleague", "laptop")
    session = begin(server.connect(), token)
    segments = tmp_path / "data" / "repositories" / "laptop" / "segments"

    def files() -> list[Path]:
        return [path for path in segments.rglob("*") if path.is_file()]

    before = files()
    body = frames(1)
    wire = half(server, token, "/v1/chunks", body, session=session)
    server.store.clients.revoke(LAPTOP)
    wire.send(body[-1:])
    assert wire.answer().status == 401
    assert files() == before
    backed_up(server.connect(), colleague, 1, 1, 2)


def test_a_token_that_was_revoked_while_it_was_to_take_over(server: ServerInMemory) -> None:
    """It was found good; by the time it is to take over, it is not."""
    server.token("laptop")
    server.store.clients.rotate(LAPTOP, digest("new"))
    wire = server.connect()
    wire.channel.dataReceived(wire.head("GET", "/v1/repository", token="new"))
    server.work._queue.popleft()()  # it is looked up
    server.store.clients.revoke(LAPTOP)
    server.work.do_all()
    assert wire.answer().status == 401


def test_all_of_a_repository(tmp_path: Path) -> None:
    """Also tokens that were to take over: none of them counts as one that may use it."""
    clients = Clients.open(tmp_path / "data", Clock())
    later_ns = START_NS + HOUR_NS
    clients.enrol(clients.invite(ALICE, HOME, SCOPES, later_ns), digest("old"))
    clients.rotate(ALICE, digest("new"))
    found = clients.authenticate("new")
    assert found is not None
    clients.check(found)
    assert clients.revoke_all(HOME) == [ALICE]
    with pytest.raises(AccessDenied):
        clients.check(found)
    clients.take_over("new")
    assert not clients.may_use(HOME)
    clients.close()
