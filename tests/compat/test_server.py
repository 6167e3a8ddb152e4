"""What a server of version 1.0 knows is brought up when it is opened, and nothing is lost by it."""

import sqlite3
from hashlib import sha256
from pathlib import Path

from obnam.model.ids import RepositoryName
from obnam_server.store.accounts.clients import DATABASE_NAME
from obnam_server.store.store import Store
from tests.compat.test_index import schema_of
from tests.support.stored import HOME, Clock

FIRST = Path(__file__).with_name("server-1.0.sql")


def test_it_is_brought_up(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for data in (new, old):
        Store.open(data, Clock()).close()
    schema = schema_of(new / DATABASE_NAME)
    (old / DATABASE_NAME).unlink()
    connection = sqlite3.connect(old / DATABASE_NAME)
    connection.executescript(FIRST.read_text())
    connection.execute("INSERT INTO meta VALUES ('schema_version_major', 1)")
    connection.execute("INSERT INTO meta VALUES ('schema_version_minor', 0)")
    connection.execute(
        "INSERT INTO clients (name, repository, scopes, created, token) "
        "VALUES ('laptop', 'home', 'backup restore', 5, ?)",
        (sha256(b"token").digest(),),
    )
    connection.commit()
    connection.close()

    store = Store.open(old, Clock())
    client = store.clients.authenticate("token")
    assert client is not None
    assert (client.name, client.repository) == ("laptop", "home")
    store.settings.set_quota(HOME, 7)
    assert store.settings.quota(RepositoryName("home")) == 7
    store.close()
    assert schema_of(old / DATABASE_NAME) == schema
