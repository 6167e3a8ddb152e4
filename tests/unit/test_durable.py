"""Files that must outlive a power failure: content, name, directory, in this order.

What the store does for its clients is in `tests.damage.test_power_loss`.
"""

import os
import re
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
from obnam_server.store.accounts.audit import Audit
from obnam_server.store.accounts.audit_lines import month_of
from obnam_server.store.disk import layout
from obnam_server.store.disk.database import Database
from obnam_server.store.disk.files import LOCAL_FILES, write_durably
from obnam_server.store.disk.reserve import Reserve
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.segments.local import LocalSegmentStore
from obnam_server.store.store import Store
from obnam_server.tls import certificate_files
from tests.support.stored import ALICE, HOME, Clock, back_up
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


def steps_of(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], folder: Path
) -> list[str]:
    """What is asked of the disk; names that are others each time are said in general."""
    seen = traced_disk(monkeypatch)
    change(folder)
    names = {folder.parent.name: "PARENT", month_of(Clock()()): "MONTH", f".{os.getpid()}": ""}
    text = re.sub("-[0-9a-f]{16}", "", "\n".join(seen))
    text = re.sub("[0-9a-f]{32}[.]tmp", "incoming.tmp", text)
    for name, short in names.items():
        text = text.replace(name, short)
    return text.splitlines()


SAVED = ["sync secrets.new", "secrets.new -> secrets.yaml", "sync folder"]
SAVED_FIRST = [*SAVED[:2], "remove secrets.new", SAVED[2]]


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (save, SAVED_FIRST),
        (save_twice, [*SAVED_FIRST, *SAVED]),
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
        (write, ["sync file.tmp", "file.tmp -> file", "sync folder"]),
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
    assert steps_of(monkeypatch, make, folder) == steps


STORED = ["sync incoming.tmp", "incoming.tmp -> 0000000000000fff", "sync 0000"]


def prepare(data: Path) -> None:
    layout.prepare_directory(data.with_name("another"), LOCAL_FILES)


def make(data: Path) -> None:
    layout.make_repository(data, RepositoryName("other"), LOCAL_FILES)


def put_away(data: Path) -> None:
    layout.put_away(data, HOME, LOCAL_FILES)


def give_back(data: Path) -> None:
    Reserve(data, LOCAL_FILES).give_back()


def segments(data: Path) -> LocalSegmentStore:
    return LocalSegmentStore(layout.repositories_of(data), LOCAL_FILES)


def settle(data: Path) -> None:
    (data / "repositories/home/incoming/left").touch()
    segments(data).settle(HOME)


def segment(data: Path, number: int, *, kept: bool = True) -> None:
    writer = segments(data).begin(HOME)
    writer.write([b"content"])
    writer.finish(SegmentNumber(number))
    if not kept:
        writer.abort()


def begin_directory(data: Path) -> None:
    segment(data, 0x5000)


def store_segment(data: Path) -> None:
    segment(data, 0xFFF)


def store_in_vain(data: Path) -> None:
    segment(data, 0xFFF, kept=False)


def delete(data: Path) -> None:
    segments(data).delete(HOME, [SegmentNumber(1)])


def log_more(data: Path) -> None:
    Audit.open(data, Clock()).record("enrolment")


def log_first(data: Path) -> None:
    log_more(data / "repositories")


def log_after_a_crash(data: Path) -> None:
    (file,) = (data / "audit").iterdir()
    with file.open("ab") as log:
        log.write(b"half a li")
    log_more(data)


def rebuild(data: Path) -> None:
    rebuild_index(data, HOME, Clock())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """That of a server with a repository and a generation."""
    data = tmp_path / "data"
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    store.close()
    Reserve(data, LOCAL_FILES).keep()
    return data


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (
            prepare,
            [
                "make another",
                "sync PARENT",
                "sync format.tmp",
                "format.tmp -> format",
                "sync another",
                "make repositories",
                "sync another",
            ],
        ),
        (
            make,
            [
                "make .new-other",
                "make segments",
                "make incoming",
                "sync repository.tmp",
                "repository.tmp -> repository",
                "sync .new-other",
                ".new-other -> other",
                "sync repositories",
            ],
        ),
        (put_away, ["home -> .gone-home", "sync repositories"]),
        (give_back, ["remove reserve", "sync data"]),
        (settle, ["remove left", "sync 0000", "sync segments"]),
        (
            begin_directory,
            [
                "sync incoming.tmp",
                "make 0005",
                "sync segments",
                "incoming.tmp -> 0000000000005000",
                "sync 0005",
            ],
        ),
        (store_segment, STORED),
        (store_in_vain, [*STORED, "remove 0000000000000fff", "sync 0000"]),
        (delete, ["remove 0000000000000001", "sync 0000"]),
        (log_first, ["make audit", "sync repositories", "sync MONTH", "sync audit"]),
        (log_more, ["sync MONTH"]),
        (log_after_a_crash, ["sync MONTH", "sync MONTH", "sync MONTH"]),
        (
            rebuild,
            [
                "sync 0000",
                "sync segments",
                "remove index.sqlite",
                "sync home",
                "index.sqlite.new -> index.sqlite",
                "sync home",
            ],
        ),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_the_store_does_by_itself(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    steps: list[str],
) -> None:
    assert steps_of(monkeypatch, change, data) == steps


def test_what_is_to_last_waits_for_the_disk(tmp_path: Path) -> None:
    """SQLite syncs its log at each commit with FULL (2); with NORMAL (1), at a checkpoint."""
    database = Database(tmp_path / "database", "server", (1, 0))
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with database.transaction(durable=durable) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    database.close()
