"""The key that signs receipts: made once, kept, and missed when it is damaged."""

import errno
import json
import re
import sqlite3
import stat
from importlib import resources
from pathlib import Path

import pytest

from obnam.crypto.signing import is_signed_by
from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.messages import GenerationSummary
from obnam.wire.receipts import NO_RECEIPT, Statement
from obnam_server.store.accounts.server_key import KEY_NAME
from obnam_server.store.errors import BadDataDirectory, StoreFull
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.support.failing_files import FailingFiles
from tests.support.stored import ALICE, BOB, HOME, Clock, back_up

STATEMENT = Statement(
    bytes(16),
    1,
    1,
    GenerationId("ab" * 16),
    ClientName("laptop"),
    ChunkId(b"\x01" + bytes(32)),
    NO_RECEIPT,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def check_signed(key: bytes, repository_id: bytes, summaries: list[GenerationSummary]) -> None:
    """All are signed, and one chain."""
    previous = NO_RECEIPT
    for summary in summaries:
        statement = summary.receipt.statement(repository_id, summary.client)
        signed = summary.receipt.countersigned
        assert statement is not None
        assert signed is not None
        assert is_signed_by(key, statement.encode(), signed.signature)
        assert statement.previous == previous
        previous = statement.hash()


def test_made_once(data: Path) -> None:
    store = Store.open(data, Clock())
    public = store.key.public
    signature = store.key.sign(STATEMENT)
    store.close()
    assert stat.S_IMODE((data / KEY_NAME).stat().st_mode) == 0o600
    assert json.loads((data / KEY_NAME).read_bytes())["public"] == public.hex()
    assert is_signed_by(public, STATEMENT.encode(), signature)
    store = Store.open(data, Clock())
    assert (store.key.public, store.key.sign(STATEMENT)) == (public, signature)
    assert "secret" not in repr(store.key)
    assert str(json.loads((data / KEY_NAME).read_bytes())["secret"]) not in repr(store.key)
    store.close()


def test_every_server_has_its_own(tmp_path: Path) -> None:
    keys = set()
    for name in "ab":
        store = Store.open(tmp_path / name, Clock())
        keys.add(store.key.public)
        store.close()
    assert len(keys) == 2


def test_a_full_disk_at_the_first_start(data: Path) -> None:
    """Whatever fails, there is a whole key or none; and no half of one stays behind."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    whole = FailingFiles(-1, full)
    Store.open(data, Clock(), whole).close()
    made = whole.done
    for fail_at in range(made):
        other = data.with_name(f"data-{fail_at}")
        try:
            Store.open(other, Clock(), FailingFiles(fail_at, full)).close()
        except StoreFull:
            store = Store.open(other, Clock())
            store.key.sign(STATEMENT)
            store.close()
        else:
            pytest.fail(f"operation {fail_at} did not fail")
        assert list(other.glob(f"{KEY_NAME}.*")) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"[]",
        b'{"format": 1, "public": "", "secret": ""}',
        b'{"format": 2, "public": "%b", "secret": "%b"}' % (b"00" * 32, b"00" * 32),
    ],
    ids=["empty", "junk", "list", "short", "format"],
)
def test_a_damaged_key_is_not_replaced(data: Path, content: bytes) -> None:
    """A new one in its place would alarm every client."""
    Store.open(data, Clock()).close()
    (data / KEY_NAME).write_bytes(content)
    with pytest.raises(BadDataDirectory, match="is damaged; put back a copy of it"):
        Store.open(data, Clock())
    with pytest.raises(BadDataDirectory, match="obnam accept-server"):
        Store.open(data, Clock())
    assert (data / KEY_NAME).read_bytes() == content


def test_halves_that_do_not_belong_together(data: Path) -> None:
    Store.open(data, Clock()).close()
    path = data / KEY_NAME
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "secret": "00" * 32}))
    store = Store.open(data, Clock())
    with pytest.raises(BadDataDirectory, match="is damaged"):
        back_up(store.create_repository(HOME), ALICE, "one", ["a"])
    assert store.repository(HOME).generation_count() == 0
    store.close()


def test_others_must_not_read_it(data: Path) -> None:
    Store.open(data, Clock()).close()
    (data / KEY_NAME).chmod(0o640)
    with pytest.raises(BadDataDirectory, match="chmod 600"):
        Store.open(data, Clock())


def test_receipts_come_back_from_the_segments(data: Path) -> None:
    """A rebuilt index has them, and the chain goes on over it and over a restart."""
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", ["a"])
    back_up(home, BOB, "two", ["b"])
    before = home.list_generations(0, 10)
    store.close()
    assert rebuild_index(data, HOME, Clock()) == []
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    assert home.list_generations(0, 10) == before
    back_up(home, ALICE, "three", ["c"])
    check_signed(store.key.public, home.repository_id, home.list_generations(0, 10))
    assert home.newest() == home.list_generations(0, 10)[-1]
    store.close()


def test_an_index_and_commits_from_before_there_was_a_key(data: Path) -> None:
    """Brought up when it is opened; the first receipt that is signed has none before it."""
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", ["a"])
    store.close()
    connection = sqlite3.connect(data / "repositories" / HOME / "index.sqlite")
    step = resources.files("obnam_server.store").joinpath("sql", "index-1.1.sql").read_text("utf-8")
    for kind, name in re.findall(r"CREATE(?: UNIQUE)? (TABLE|INDEX) (\w+)", step):
        connection.execute(f"DROP {kind} {name}")
    for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", step):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.execute("UPDATE meta SET value = 0 WHERE name = 'schema_version_minor'")
    connection.commit()
    connection.close()
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    back_up(home, ALICE, "two", ["b"])
    old, new = home.list_generations(0, 10)
    assert old.receipt.countersigned is None
    check_signed(store.key.public, home.repository_id, [new])
    store.close()
