"""Files that must outlive a power failure: content, name, directory, in this order.

The store's own are seen through `tests.damage`, which has no real disk; here are the real calls.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam import credentials
from obnam.credentials import Credentials, Location
from obnam.crypto.keys import MasterKey
from obnam.model.ids import ClientName, RepositoryName, parse_generation_id
from obnam.repository import state
from obnam.repository.trust import Link
from obnam_server.config import Settings
from obnam_server.store.database import Database
from obnam_server.store.files import LOCAL_FILES, write_durably
from obnam_server.tls import certificate_files
from tests.support.traced_disk import traced_disk
from tests.unit.generation.rows import chunk_id

SECRETS = Credentials(
    Location(url="https://x:1"),
    ClientName("laptop"),
    RepositoryName("home"),
    "to-ken",
    MasterKey(bytes(range(32))),
)


def save(folder: Path) -> None:
    credentials.save(folder / "secrets.yaml", SECRETS)


def save_twice(folder: Path) -> None:
    save(folder)
    credentials.replace(folder / "secrets.yaml", SECRETS)


def join(folder: Path) -> None:
    credentials.joining_token(folder / "secrets.yaml", "code", "token")


def remember(folder: Path) -> None:
    link = Link(1, parse_generation_id("1" * 32), chunk_id(1))
    state.remember(folder / "state.json", ClientName("laptop"), link)


def certify(folder: Path) -> None:
    certificate_files(Settings(folder / "server.yaml", folder))


def write(folder: Path) -> None:
    write_durably(LOCAL_FILES, folder / "file", b"content")


SAVED = ["sync secrets.new", "secrets.new -> secrets.yaml", "sync folder"]


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (save, SAVED),
        (save_twice, [*SAVED, *SAVED]),
        (join, ["sync secrets.joining", "sync folder"]),
        (remember, ["sync state.new", "state.new -> state.json", "sync folder"]),
        (
            certify,
            [
                "sync private-key.pem.new",
                "private-key.pem.new -> private-key.pem",
                "sync certificate.pem.new",
                "certificate.pem.new -> certificate.pem",
                "sync folder",
            ],
        ),
        (
            write,
            [f"sync file.{os.getpid()}.tmp", f"file.{os.getpid()}.tmp -> file", "sync folder"],
        ),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_content_then_name_then_directory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    steps: list[str],
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    seen = traced_disk(monkeypatch)
    make(folder)
    assert seen == steps


def test_what_is_to_last_waits_for_the_disk(tmp_path: Path) -> None:
    """SQLite syncs its log at each commit with FULL (2); with NORMAL (1), at a checkpoint."""
    database = Database(tmp_path / "database", "server", (1, 0))
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with database.transaction(durable=durable) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    database.close()
