"""Tokens that take the place of others, and the database that did not know of it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from obnam.errors import AccessDenied, UnknownFormat
from obnam_server.store.accounts.clients import DATABASE_NAME, Clients
from obnam_server.store.disk import database as database_module
from obnam_server.store.errors import StoreFailed
from tests.support.stored import ALICE, BOB, HOME, START_NS, Clock, digest

LATER_NS = START_NS + 3600 * 10**9
OLD_SCHEMA = Path(__file__).parents[2] / "compat" / "server-1.0.sql"


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    clients = Clients.open(tmp_path / "data", Clock())
    for name, token in ((ALICE, "old"), (BOB, "bob's")):
        clients.enrol(clients.invite(name, HOME, ("backup",), LATER_NS), digest(token))
    yield clients
    clients.close()


def good(clients: Clients) -> dict[str, bool]:
    """Tokens that are good, and whether they are to take over."""
    found = {token: clients.authenticate(token) for token in ("old", "new", "newer")}
    return {token: each.by_next_token for token, each in found.items() if each is not None}


def test_both_are_good_until_the_new_one_is_used(clients: Clients) -> None:
    clients.rotate(ALICE, digest("new"))
    clients.rotate(ALICE, digest("new"))  # the answer was lost
    assert good(clients) == {"old": False, "new": True}
    for _ in range(2):
        clients.take_over("new")
        assert good(clients) == {"new": False}
    clients.rotate(ALICE, digest("new"))  # an answer that comes very late
    assert good(clients) == {"new": False}
    assert clients.authenticate("bob's") is not None


def test_one_that_was_never_used_is_replaced(clients: Clients) -> None:
    clients.rotate(ALICE, digest("new"))
    clients.rotate(ALICE, digest("newer"))
    assert good(clients) == {"old": False, "newer": True}
    clients.take_over("new")
    assert good(clients) == {"old": False, "newer": True}


def test_the_token_of_somebody_else(clients: Clients) -> None:
    with pytest.raises(AccessDenied):
        clients.rotate(ALICE, digest("bob's"))
    clients.rotate(BOB, digest("new"))
    with pytest.raises(AccessDenied):
        clients.rotate(ALICE, digest("new"))
    code = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    with pytest.raises(AccessDenied):
        clients.enrol(code, digest("new"))
    assert good(clients) == {"old": False, "new": True}


def test_revoked(clients: Clients) -> None:
    clients.rotate(ALICE, digest("new"))
    clients.revoke(ALICE)
    assert good(clients) == {}
    with pytest.raises(AccessDenied):
        clients.rotate(ALICE, digest("newer"))
    clients.take_over("new")
    assert good(clients) == {}


def test_invited_again(clients: Clients) -> None:
    clients.rotate(ALICE, digest("new"))
    code = clients.invite(ALICE, HOME, ("backup",), LATER_NS)
    clients.enrol(code, digest("newer"))
    assert good(clients) == {"newer": False}


# From schema 1.0


@pytest.fixture
def old_data(tmp_path: Path) -> Path:
    """The data directory of a server before tokens could be rotated."""
    data = tmp_path / "old"
    Clients.open(data, Clock()).close()
    path = data / DATABASE_NAME
    path.unlink()
    connection = sqlite3.connect(path)
    connection.executescript(OLD_SCHEMA.read_text())
    connection.execute(
        "INSERT INTO meta VALUES ('schema_version_major', 1), ('schema_version_minor', 0)"
    )
    connection.execute(
        "INSERT INTO clients VALUES ('alice', 'home', 'backup', 7, ?, NULL)",
        (bytes.fromhex(digest("old")),),
    )
    connection.commit()
    connection.close()
    return data


def shape(data: Path) -> tuple[object, ...]:
    """Columns, indexes and version of a database."""
    connection = sqlite3.connect(data / DATABASE_NAME)
    try:
        columns = connection.execute("SELECT name, type, pk FROM pragma_table_info('clients')")
        indexes = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")
        meta = connection.execute("SELECT * FROM meta")
        return columns.fetchall(), sorted(indexes.fetchall()), sorted(meta.fetchall())
    finally:
        connection.close()


def test_an_old_database_is_brought_up(old_data: Path, clients: Clients, tmp_path: Path) -> None:
    for _ in range(2):
        old = Clients.open(old_data, Clock())
        assert good(old) == {"old": False}
        old.close()
    assert shape(old_data) == shape(tmp_path / "data")
    old = Clients.open(old_data, Clock())
    old.rotate(ALICE, digest("new"))
    old.take_over("new")
    assert good(old) == {"new": False}
    old.close()


def test_a_crash_while_it_is_brought_up(old_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, or nothing: the next start does it."""
    before = shape(old_data)

    def dies(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(database_module.Database, "_put_version", dies)
        with pytest.raises(StoreFailed):
            Clients.open(old_data, Clock())
    assert shape(old_data) == before
    Clients.open(old_data, Clock()).close()
    assert shape(old_data) != before


def test_an_older_server_refuses_it(clients: Clients, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("obnam_server.store.accounts.clients.SCHEMA_VERSION", (1, 0))
        with pytest.raises(UnknownFormat):
            Clients.open(tmp_path / "data", Clock())
