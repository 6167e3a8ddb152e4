"""The room that is kept for administrators, on a disk that is full."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from obnam_server.administration.operation import Operation
from obnam_server.administration.perform import perform
from obnam_server.administration.registry import find
from obnam_server.store.accounts.audit_lines import verified
from obnam_server.store.disk.files import LocalFiles
from obnam_server.store.disk.reserve import RESERVE_BYTES, Reserve
from obnam_server.store.errors import StoreFailed, StoreFull
from obnam_server.store.store import Store
from tests.support.stored import ALICE, BOB, HOME, Clock, back_up, body_of


class FullDisk(LocalFiles):
    """A disk that has, while it is ``full``, only the room that the reserve leaves."""

    full = False
    left = 0

    def __init__(self, reserve: Path) -> None:
        self.reserve = reserve

    def append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        size_bytes = sum(map(len, pieces))
        if self.full:
            if size_bytes > self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= size_bytes
        super().append(descriptor, pieces)

    def remove(self, path: Path) -> None:
        if path == self.reserve and path.exists():
            self.left += path.stat().st_size
        super().remove(path)


class Server:
    """A store with a repository, whose disk can be full."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.reserve = data / "reserve"
        self.files = FullDisk(self.reserve)
        self.store = Store.open(data, Clock(), self.files)
        back_up(self.store.create_repository(HOME), ALICE, "one", "abc")
        self.store.clients.invite(ALICE, HOME, ["backup"], Clock()() * 2)
        self.store.clients.invite(BOB, HOME, ["backup"], Clock()() * 2)

    def operate(self, name: str, **arguments: Any) -> Any:
        operation = find(name)
        assert isinstance(operation, Operation)
        return perform(self.store, operation, arguments, 1000)

    def names(self) -> list[str]:
        return [event["event"] for event, _ in verified(self.data / "audit")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    server.store.close()


def test_a_full_disk_does_not_keep_an_administrator_from_making_room(server: Server) -> None:
    assert server.store.reserve.keep()
    assert server.reserve.stat().st_size == RESERVE_BYTES
    assert server.reserve.stat().st_mode & 0o777 == 0o600
    server.files.full = True
    with pytest.raises(StoreFull):
        back_up(server.store.repository(HOME), ALICE, "two", "abc")
    assert server.reserve.exists()  # it is not for clients
    server.operate("client-revoke", client="alice")
    assert not server.reserve.exists()
    server.operate("client-revoke", client="bob")  # there is enough for more than one
    server.operate("repository-destroy", repository="home")
    assert server.names() == ["commit", "client-revoke", "client-revoke", "repository-destroy"]
    assert all(each.revoked_ns is not None for each in server.store.clients.list())
    server.store.remove_gone()
    assert server.store.repositories() == []
    # Before there is room again, it is not made; then it is.
    server.files.left = 1000
    assert not server.store.reserve.keep()
    assert [path.name for path in server.data.glob("reserve*")] == []
    server.files.full = False
    assert server.store.reserve.keep()
    assert server.store.reserve.keep()
    assert server.reserve.stat().st_size == RESERVE_BYTES


def test_it_is_not_given_back_for_those_who_only_look(server: Server) -> None:
    server.store.reserve.keep()
    server.files.full = True
    assert len(server.operate("client-list")["clients"]) == 2
    assert server.reserve.exists()


def test_when_it_is_used_up_nothing_is_done(server: Server) -> None:
    server.store.reserve.keep()
    server.files.full = True
    server.operate("client-revoke", client="alice")
    server.files.left = 0
    with pytest.raises(StoreFull):
        server.operate("client-revoke", client="bob")
    (bob,) = [each for each in server.store.clients.list() if each.name == BOB]
    assert bob.revoked_ns is None
    assert server.names() == ["commit", "client-revoke"]


def test_a_change_that_finds_no_room_is_done_again(server: Server) -> None:
    """Its line had room, and what it writes had not."""
    server.store.reserve.keep()
    back_up(server.store.repository(HOME), ALICE, "two", "abcd")
    before = server.names()
    server.files.full, server.files.left = True, 600
    (generation, _) = server.store.repository(HOME).list_generations(0, 9)
    server.operate(
        "generation-delete",
        repository="home",
        generations=[generation.receipt.generation],
        reason="no room",
    )
    assert len(server.store.repository(HOME).list_generations(0, 9)) == 1
    said = server.names()[len(before) :]
    assert said[-2:] == ["generation-delete", "delete"]
    assert not server.reserve.exists()


def test_a_crash_at_any_time(tmp_path: Path) -> None:
    """It is there, or it is made by whoever comes next; and what it left behind is no reserve."""

    class Dies(LocalFiles):
        count = 0

        def sync(self, descriptor: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reserve(tmp_path, Dies()).keep()
    assert not (tmp_path / "reserve").exists()
    (left,) = tmp_path.iterdir()
    left.rename(left.with_name("reserve.1234567.tmp"))  # the next one has another number
    reserve = Reserve(tmp_path, LocalFiles())
    assert not reserve.give_back()
    assert reserve.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["reserve"]
    assert reserve.give_back()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    class Fails(LocalFiles):
        def sync(self, descriptor: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StoreFailed, match="reserve"):
        Reserve(tmp_path, Fails()).keep()
    assert list(tmp_path.iterdir()) == []


def test_uploads_do_not_get_it(server: Server) -> None:
    server.store.reserve.keep()
    server.files.full = True
    upload = server.store.repository(HOME).begin_upload()
    upload.write([body_of("xyz")])
    with pytest.raises(StoreFull):
        upload.finish()
    upload.abort()
    assert server.reserve.exists()
