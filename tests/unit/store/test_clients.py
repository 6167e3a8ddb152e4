"""Clients, tokens, invitations."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from obnam.errors import AccessDenied, NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.accounts.clients import Client, Clients
from tests.support.stored import ALICE, BOB, HOME, START_NS, Clock, digest

HOUR_NS = 3600 * 1_000_000_000
LATER_NS = START_NS + HOUR_NS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clients(tmp_path: Path, clock: Clock) -> Iterator[Clients]:
    clients = Clients.open(tmp_path / "data", clock)
    yield clients
    clients.close()


def test_from_invitation_to_token(clients: Clients) -> None:
    code = clients.invite(ALICE, HOME, ("backup", "restore"), LATER_NS)
    assert clients.authenticate("token") is None
    assert [c.enrolled for c in clients.list()] == [False]
    answer = clients.enrol(code, digest("token"))
    assert (answer.client, answer.repository) == (ALICE, HOME)
    client = clients.authenticate("token")
    assert client == Client(ALICE, HOME, ("backup", "restore"), START_NS + 10**9, True, None)
    assert clients.list() == [client]
    assert clients.authenticate("another token") is None
    assert clients.authenticate("\udcff") is None


def test_using_a_code_again(clients: Clients) -> None:
    code = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    first = clients.enrol(code, digest("token"))
    assert clients.enrol(code, digest("token")) == first
    with pytest.raises(AccessDenied):
        clients.enrol(code, digest("thief's token"))
    assert clients.authenticate("thief's token") is None


def test_expired_and_unknown_codes(clients: Clients, clock: Clock) -> None:
    code = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    with pytest.raises(AccessDenied):
        clients.enrol("guess", digest("token"))
    clock.now_ns += HOUR_NS
    with pytest.raises(AccessDenied):
        clients.enrol(code, digest("token"))


def test_inviting_again(clients: Clients) -> None:
    first = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    clients.enrol(first, digest("old"))
    second = clients.invite(ALICE, HOME, ("restore",), LATER_NS)
    third = clients.invite(ALICE, HOME, ("manage",), LATER_NS)
    with pytest.raises(AccessDenied):
        clients.enrol(second, digest("new"))
    assert clients.authenticate("old") is not None
    clients.enrol(third, digest("new"))
    assert clients.authenticate("old") is None
    client = clients.authenticate("new")
    assert client is not None
    assert client.scopes == ("manage",)


def test_revoked(clients: Clients) -> None:
    clients.enrol(clients.invite(ALICE, HOME, ("backup",), LATER_NS), digest("token"))
    code = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    clients.revoke(ALICE)
    clients.revoke(ALICE)
    assert clients.authenticate("token") is None
    with pytest.raises(AccessDenied):
        clients.enrol(code, digest("token"))
    assert [c.revoked_ns is not None for c in clients.list()] == [True]
    clients.enrol(clients.invite(ALICE, HOME, ("backup",), LATER_NS), digest("again"))
    assert clients.authenticate("again") is not None


def test_revoking_somebody_unknown(clients: Clients) -> None:
    with pytest.raises(NotFound):
        clients.revoke(BOB)


def test_a_token_belongs_to_one_client(clients: Clients) -> None:
    clients.enrol(clients.invite(ALICE, HOME, ("backup",), LATER_NS), digest("token"))
    code = clients.invite(BOB, RepositoryName("other"), ("backup",), LATER_NS)
    with pytest.raises(AccessDenied):
        clients.enrol(code, digest("token"))
    found = clients.authenticate("token")
    assert found is not None
    assert found.name == ALICE


@pytest.mark.parametrize("scopes", [(), ("backup", "everything")])
def test_scopes_that_there_are_not(clients: Clients, scopes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="scopes are"):
        clients.invite(ClientName("x"), HOME, scopes, LATER_NS)
    assert clients.list() == []


def test_another_process_sees_it_at_once(clients: Clients, tmp_path: Path) -> None:
    command = Clients.open(tmp_path / "data", Clock())
    code = command.invite(ALICE, HOME, ("backup",), LATER_NS)
    clients.enrol(code, digest("token"))
    command.revoke(ALICE)
    command.close()
    assert clients.authenticate("token") is None


def test_no_secret_is_written(clients: Clients, tmp_path: Path) -> None:
    code = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    clients.enrol(code, digest("a very secret token"))
    for path in (tmp_path / "data").iterdir():
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
            assert code.encode() not in path.read_bytes()
            assert b"a very secret token" not in path.read_bytes()
