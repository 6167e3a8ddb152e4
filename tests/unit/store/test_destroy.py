"""A repository is destroyed: what goes, what stays, and what a crash or a late reader meets."""

import errno
import os
from pathlib import Path

import pytest

from obnam.errors import AccessDenied, NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.errors import StoreFailed
from obnam_server.store.store import Store
from tests.support.failing_files import FailingFiles
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    Clock,
    all_right,
    back_up,
    body_of,
    finished,
    held,
)

OFFICE = RepositoryName("office")
DIGEST = "ab" * 32


def join(
    store: Store, client: ClientName, repository: RepositoryName, digest: str = DIGEST
) -> None:
    code = store.clients.invite(client, repository, ["backup"], Clock()() * 2)
    store.clients.enrol(code, digest)


def two(data: Path) -> Store:
    """A store with two repositories of one generation each, and their clients."""
    store = Store.open(data, Clock())
    join(store, ALICE, HOME)
    join(store, BOB, OFFICE, "cd" * 32)
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    back_up(store.create_repository(OFFICE), BOB, "two", "bcd")
    return store


def gone(data: Path) -> list[Path]:
    return list((data / "repositories").glob(".gone-*"))


def test_all_of_it_goes_and_nothing_else(tmp_path: Path) -> None:
    store = two(tmp_path / "data")
    assert store.destroy_repository(HOME) == [ALICE]
    assert store.repositories() == [OFFICE]
    assert [c.name for c in store.clients.list() if c.revoked_ns is None] == [BOB]
    assert held(store.repository(OFFICE), "bcd") == all_right("bcd")
    for name in (HOME, RepositoryName("never")):
        with pytest.raises(NotFound):
            store.destroy_repository(name)
    (left,) = gone(tmp_path / "data")
    store.remove_gone()
    assert not left.exists()
    store.close()


def test_a_code_for_it_is_worth_nothing(tmp_path: Path) -> None:
    """Not even one given to a client of another repository, which keeps its token."""
    store = two(tmp_path / "data")
    code = store.clients.invite(BOB, HOME, ["backup"], Clock()() * 2)
    assert store.destroy_repository(HOME) == [ALICE]
    with pytest.raises(AccessDenied):
        store.clients.enrol(code, "ef" * 32)
    assert store.clients.may_use(OFFICE)
    store.close()


def test_the_last_request_does_not_make_it_again(tmp_path: Path) -> None:
    store = two(tmp_path / "data")
    store.destroy_repository(HOME)
    with pytest.raises(AccessDenied):
        store.repository_for_client(HOME)
    assert store.repositories() == [OFFICE]
    store.close()


def test_whoever_has_it_changes_nothing_more(tmp_path: Path) -> None:
    store = two(tmp_path / "data")
    home = store.repository(HOME)
    session = home.begin_session(ALICE, None)
    upload = finished(home, body_of("xy"))
    half = home.begin_upload()
    store.destroy_repository(HOME)
    with pytest.raises(NotFound):
        home.begin_upload()
    with pytest.raises(NotFound):
        home.accept(session, upload)
    upload.abort()
    half.write([memoryview(body_of("z"))])
    with pytest.raises(StoreFailed):
        half.finish()
    half.abort()
    store.close()


def test_a_new_one_of_that_name_has_nothing_of_the_old(tmp_path: Path) -> None:
    store = two(tmp_path / "data")
    home = store.repository(HOME)
    assert held(home, "abc") == all_right("abc")  # and so its segments are open
    store.destroy_repository(HOME)
    join(store, ALICE, HOME)
    # Somebody still reads the old one: the new one must wait, or they would meet.
    with pytest.raises(StoreFailed, match="still being destroyed"):
        store.repository_for_client(HOME)
    del home
    new = store.repository_for_client(HOME)
    assert new.generation_count() == 0
    assert held(new, "abc") == {}
    back_up(new, ALICE, "three", "cx")
    assert held(new, "abcx") == all_right("cx")
    store.remove_gone()
    assert held(new, "abcx") == all_right("cx")
    store.close()
    store = Store.open(tmp_path / "data", Clock())
    assert store.repository(HOME).problems == []
    store.close()


def test_a_crash_on_the_way(tmp_path: Path) -> None:
    """Whole and without clients, or gone; done again, it is gone."""

    def die() -> None:
        raise KeyboardInterrupt

    count = 0
    while True:
        data = tmp_path / str(count)
        two(data).close()
        files = FailingFiles(-1, die)
        store = Store.open(data, Clock(), files)
        files.fail_at = files.done + count
        try:
            store.destroy_repository(HOME)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            store._lock.release()
            store.clients.close()
        again = Store.open(data, Clock())
        assert not again.clients.may_use(HOME)
        if HOME in again.repositories():
            assert held(again.repository(HOME), "abc") == all_right("abc")
            again.destroy_repository(HOME)
        again.remove_gone()
        assert os.listdir(data / "repositories") == [OFFICE]
        again.close()
        count += 1
    assert count == 2


def test_removing_goes_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = two(tmp_path / "data")
    store.destroy_repository(HOME)
    unlink, removed = os.unlink, []

    def one_by_one(path: str) -> None:
        unlink(path)
        removed.append(path)
        store.end_soon()  # as when the server is stopped just now

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", one_by_one)
        store.remove_gone()
    assert len(removed) == 1
    store.close()
    assert len(gone(tmp_path / "data")) == 1
    store = Store.open(tmp_path / "data", Clock())
    assert store.repositories() == [OFFICE]
    store.remove_gone()
    assert gone(tmp_path / "data") == []
    store.close()


def test_a_disk_that_fails_keeps_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    two(tmp_path / "data").close()
    files = FailingFiles(-1, fail)
    store = Store.open(tmp_path / "data", Clock(), files)
    home = store.repository(HOME)
    files.fail_at = files.done
    with pytest.raises(StoreFailed):
        store.destroy_repository(HOME)
    assert held(home, "abc") == all_right("abc")
    assert store.destroy_repository(HOME) == []
    store.close()
