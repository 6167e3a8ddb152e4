"""The data directory, and repositories in it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from obnam.errors import NotFound, UnknownFormat
from obnam.model.ids import RepositoryName
from obnam_server.store.errors import (
    BadDataDirectory,
    DamagedIndex,
    StoreInUse,
)
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.support.stored import ALICE, HOME, Clock, all_right, back_up, chunk_id, held, index_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_made_and_opened_again(data: Path) -> None:
    store = Store.open(data, Clock())
    assert store.repositories() == []
    repository = store.create_repository(HOME)
    assert store.create_repository(HOME) is repository
    assert store.repository(HOME) is repository
    store.create_repository(RepositoryName("another"))
    store.close()
    assert data.stat().st_mode & 0o777 == 0o700
    store = Store.open(data, Clock())
    assert store.repositories() == ["another", "home"]
    assert store.repository(HOME).problems == []
    with pytest.raises(NotFound):
        store.repository(RepositoryName("unknown"))
    store.close()


def test_in_use_by_this_process(data: Path) -> None:
    store = Store.open(data, Clock())
    with pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
        Store.open(data, Clock())
    store.close()
    Store.open(data, Clock()).close()


def test_in_use_by_another_process(data: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from obnam_server.store.store import Store\n"
        "store = Store.open(Path(sys.argv[1]), time.time_ns)\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUse, match=f"process {other.pid}"):
            Store.open(data, Clock())
        # However it ends, the directory is free then.
        other.kill()
        other.wait()
    Store.open(data, Clock()).close()


def test_a_directory_that_others_may_enter(data: Path) -> None:
    data.mkdir(mode=0o755)
    data.chmod(0o750)
    with pytest.raises(BadDataDirectory, match="chmod 700"):
        Store.open(data, Clock())


def test_somebody_elses_directory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BadDataDirectory, match="run as that user"):
        Store.open(data, Clock())


def test_a_directory_with_something_else(data: Path) -> None:
    data.mkdir(mode=0o700)
    (data / "letter.txt").write_text("Dear Lars")
    with pytest.raises(BadDataDirectory, match="neither empty"):
        Store.open(data, Clock())
    assert [p.name for p in data.iterdir()] == ["letter.txt"]


def test_a_file_in_its_place(data: Path) -> None:
    data.write_text("")
    with pytest.raises(BadDataDirectory, match="not a directory"):
        Store.open(data, Clock())


def test_a_newer_format(data: Path) -> None:
    Store.open(data, Clock()).close()
    (data / "format").write_text("obnam-server data 2\n")
    with pytest.raises(UnknownFormat, match="format 2"):
        Store.open(data, Clock())
    (data / "format").write_text("who knows\n")
    with pytest.raises(BadDataDirectory):
        Store.open(data, Clock())


def test_a_newer_repository(data: Path) -> None:
    store = Store.open(data, Clock())
    store.create_repository(HOME)
    store.close()
    marker = data / "repositories/home/repository"
    marker.write_text(marker.read_text().replace('"format": 1', '"format": 2'))
    store = Store.open(data, Clock())
    with pytest.raises(UnknownFormat):
        store.repository(HOME)
    store.close()


def test_a_repository_that_was_copied_without_what_does_not_last(data: Path) -> None:
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    store.close()
    (data / "repositories/home/incoming").rmdir()
    index_path(data).unlink()
    store = Store.open(data, Clock())
    back_up(store.repository(HOME), ALICE, "two", "abcd")
    store.close()


def test_a_repository_without_its_id_is_named(data: Path) -> None:
    """It is there, and clients must not begin a new one in its place."""
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    store.close()
    path = data / "repositories/home/repository"
    content = path.read_bytes()
    path.unlink()
    store = Store.open(data, Clock())
    for ask in (store.repository, store.create_repository):
        with pytest.raises(BadDataDirectory, match="is missing; run: obnam-server rebuild-index"):
            ask(HOME)
    path.write_bytes(content)
    assert store.repository(HOME).generation_count() == 1
    store.close()


def test_a_newer_index(data: Path) -> None:
    store = Store.open(data, Clock())
    store.create_repository(HOME)
    store.close()
    connection = sqlite3.connect(index_path(data))
    connection.execute("UPDATE meta SET value = 2 WHERE name = 'schema_version_minor'")
    connection.commit()
    connection.close()
    store = Store.open(data, Clock())
    with pytest.raises(UnknownFormat, match=r"1\.2"):
        store.repository(HOME)
    store.close()


def test_a_damaged_index_is_named(data: Path) -> None:
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", ["a"])
    store.close()
    index_path(data).write_bytes(b"not a database at all" * 1000)
    store = Store.open(data, Clock())
    with pytest.raises(DamagedIndex, match="rebuild-index"):
        store.repository(HOME)
    store.close()


def test_a_lost_index_is_made_anew(data: Path) -> None:
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", ["a", "b"])
    store.close()
    index_path(data).unlink()
    store = Store.open(data, Clock())
    repository = store.repository(HOME)
    assert repository.problems == []
    assert held(repository, ["a", "b"]) == all_right(["a", "b"])
    assert repository.generation_count() == 1
    store.close()


def test_a_repository_half_made_is_made_again(data: Path) -> None:
    Store.open(data, Clock()).close()
    (data / "repositories/.new-home").mkdir()
    store = Store.open(data, Clock())
    assert store.repositories() == []
    assert store.create_repository(HOME).generation_count() == 0
    store.close()


def test_repositories_never_see_each_other(data: Path) -> None:
    store = Store.open(data, Clock())
    home, other = store.create_repository(HOME), store.create_repository(RepositoryName("other"))
    generation = back_up(home, ALICE, "one", ["a", "b"])
    session = other.begin_session(ALICE, None)
    ids = [chunk_id("a"), chunk_id("b")]
    assert other.missing(session, ids) == [True, True]
    assert other.locate(ids) == [None, None]
    assert held(other, ["a", "b"]) == {}
    assert other.latest(ALICE) is None
    assert other.used_bytes() == 0
    with pytest.raises(NotFound):
        other.get_generation(generation)
    store.close()


def test_a_segment_of_another_repository_is_not_adopted(data: Path) -> None:
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", ["a"])
    store.create_repository(RepositoryName("other"))
    store.close()
    source = data / "repositories/home/segments/0000"
    target = data / "repositories/other/segments/0000"
    target.mkdir()
    for path in source.iterdir():
        os.link(path, target / path.name)
    store = Store.open(data, Clock())
    other = store.repository(RepositoryName("other"))
    assert len(other.problems) == 2
    assert all("another repository" in p for p in other.problems)
    assert held(other, ["a"]) == {}
    store.close()


def test_a_directory_that_cannot_be_made(data: Path) -> None:
    with pytest.raises(BadDataDirectory, match="make the directory above it first"):
        Store.open(data / "below" / "deeper", Clock())


def test_nobody_is_told_to_change_what_is_not_ours(data: Path) -> None:
    data.mkdir(mode=0o755)
    (data / "letter.txt").write_text("Dear Lars")
    with pytest.raises(BadDataDirectory, match="neither empty"):
        Store.open(data, Clock())


def test_a_disk_that_can_only_be_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(data, Clock()).close()
    real = os.statvfs(data)
    flags = SimpleNamespace(f_flag=real.f_flag | os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda path: flags)
    with pytest.raises(BadDataDirectory, match="Mount it writable, or copy it elsewhere"):
        Store.open(data, Clock())


def test_a_file_with_the_id_is_not_guessed(data: Path) -> None:
    """No segments, or those of several repositories, tell nothing about whose they are."""
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    office = store.create_repository(RepositoryName("office"))
    back_up(office, ALICE, "one", "abc")
    back_up(office, ALICE, "two", "abcd")
    store.create_repository(RepositoryName("empty"))
    store.close()
    homes = data / "repositories"
    last = max((homes / "office/segments/0000").iterdir())
    into = homes / "home/segments/0000" / last.name
    assert not into.exists()
    shutil.copy(last, into)
    for name, told in (("empty", "no segment tells it"), ("home", "of 2 repositories")):
        (homes / name / "repository").write_bytes(b"")
        with pytest.raises(BadDataDirectory, match=told):
            rebuild_index(data, RepositoryName(name), Clock())
        assert (homes / name / "repository").read_bytes() == b""
