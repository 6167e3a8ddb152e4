"""What of the store's work is in the audit log, and what happens when it cannot be."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from obnam.errors import AccessDenied, NotFound
from obnam.wire.messages import KeyringSlot
from obnam_server.administration.operation import Operation
from obnam_server.administration.perform import perform
from obnam_server.administration.registry import find
from obnam_server.store.accounts.audit_lines import verified
from obnam_server.store.disk.files import LocalFiles
from obnam_server.store.errors import StoreFull
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.support.scrubbed import break_chunk
from tests.support.stored import (
    ALICE,
    HOME,
    Clock,
    all_right,
    back_up,
    chunk_id,
    commit_of,
    generation_id,
    held,
    put,
)


class NoRoomForLog(LocalFiles):
    """A disk that takes everything but lines of the audit log, while ``full``."""

    full = False

    def append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        if self.full and bytes(pieces[0]).startswith(b'{"sequence"'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(descriptor, pieces)


class Server:
    """A store whose disk can be full."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.files = NoRoomForLog()
        self.store = Store.open(data, Clock(), self.files)

    def events(self) -> list[dict[str, Any]]:
        return [event for event, _ in verified(self.data / "audit")]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    def operate(self, name: str, **arguments: Any) -> Any:
        operation = find(name)
        assert isinstance(operation, Operation)
        return perform(self.store, operation, arguments, 1000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    server.store.close()


def test_commits_keyrings_and_decisions(server: Server) -> None:
    home = server.store.create_repository(HOME)
    assert server.names() == []
    back_up(home, ALICE, "one", "abc")
    back_up(home, ALICE, "two", "ab")
    home.put_keyring([KeyringSlot("0" * 32, "slot", b"sealed")], "0", ALICE)
    home.decisions.delete([generation_id("one")], "client alice", "old")
    assert server.names() == ["commit", "commit", "keyring", "delete"]
    commit, _, keyring, delete = server.events()
    assert (commit["repository"], commit["client"]) == ("home", "alice")
    assert commit["details"]["generation"] == generation_id("one")
    assert (commit["details"]["sequence"], commit["details"]["chunk_count"]) == (1, 3)
    assert (keyring["client"], keyring["details"]) == ("alice", {"slots": 1})
    assert delete["details"] == {
        "by": "client alice",
        "reason": "old",
        "generations": [generation_id("one")],
    }


def test_an_upload_costs_nothing_and_a_commit_one_line(server: Server) -> None:
    home = server.store.create_repository(HOME)
    session = home.begin_session(ALICE, None)
    put(home, session, "abc")
    home.refer(ALICE, session, [chunk_id(n) for n in "abc"], [])
    assert server.names() == []
    home.commit(ALICE, session, commit_of("one", None, "abc"))
    # Its answer was lost, so it is sent again: that is no second one.
    home.commit(ALICE, session, commit_of("one", None, "abc"))
    assert server.names() == ["commit"]


def test_a_commit_goes_through_though_the_log_has_no_room(server: Server) -> None:
    home = server.store.create_repository(HOME)
    server.files.full = True
    back_up(home, ALICE, "one", "abc")
    home.put_keyring([KeyringSlot("0" * 32, "slot", b"sealed")], "0", ALICE)
    assert server.operate("status")["audit_missed"]["events"] == {"commit": 1, "keyring": 1}
    server.files.full = False
    back_up(home, ALICE, "two", "ab")
    assert server.names() == ["audit-gap", "commit"]
    assert held(home, "abc") == all_right("abc")
    assert home.generation_count() == 2


def test_an_enrolment_is_refused_when_the_log_has_no_room(server: Server) -> None:
    code = server.store.clients.invite(ALICE, HOME, ["backup"], Clock()() * 2)
    server.files.full = True
    with pytest.raises(StoreFull):
        server.store.clients.enrol(code, "ab" * 32)
    assert not server.store.clients.may_use(HOME)
    server.files.full = False
    server.store.clients.enrol(code, "ab" * 32)
    server.store.clients.enrol(code, "ab" * 32)  # its answer was lost
    with pytest.raises(AccessDenied):
        server.store.clients.enrol(code, "cd" * 32)
    (event,) = server.events()
    assert (event["event"], event["client"], event["repository"]) == ("enrolment", "alice", "home")
    assert event["details"] == {"scopes": ["backup"]}


def test_an_administrator_changes_nothing_that_is_not_logged(server: Server) -> None:
    back_up(server.store.create_repository(HOME), ALICE, "one", "abc")
    invited = {
        "client": "alice",
        "repository": "home",
        "scopes": ["backup"],
        "expires_ns": Clock()() * 2,
    }
    server.operate("client-invite", **invited)
    before = server.names()
    server.files.full = True
    for name, arguments in (
        ("client-invite", invited),
        ("client-revoke", {"client": "alice"}),
        ("repository-destroy", {"repository": "home"}),
    ):
        with pytest.raises(StoreFull):
            server.operate(name, **arguments)
    assert server.store.repositories() == [HOME]
    assert server.store.clients.list()[0].revoked_ns is None
    assert len(server.operate("client-list")["clients"]) == 1  # to look is free
    server.files.full = False
    assert server.names() == before == ["commit", "client-invite"]


def test_what_an_administrator_does_is_logged_before(server: Server) -> None:
    server.store.create_repository(HOME)
    server.operate("repository-destroy", repository="home")
    with pytest.raises(NotFound):
        server.operate("repository-destroy", repository="home")
    one, two, failed = server.events()
    for event in (one, two):
        assert (event["event"], event["repository"]) == ("repository-destroy", "home")
        assert (event["administrator"], event["details"]) == (1000, {"repository": "home"})
    assert failed["event"] == "not-done"
    assert failed["details"] == {
        "of": 2,
        "error": "NotFound",
        "problem": "the server does not have repository home",
    }


def test_the_log_has_no_secrets(server: Server) -> None:
    code = server.operate(
        "client-invite",
        client="alice",
        repository="home",
        scopes=["backup"],
        expires_ns=Clock()() * 2,
    )["code"]
    server.store.clients.enrol(code, "ab" * 32)
    text = b"".join(path.read_bytes() for path in (server.data / "audit").iterdir())
    assert code.encode() not in text
    assert b"abab" not in text


def test_commits_that_a_crash_hid_from_the_index(tmp_path: Path) -> None:
    """They are found in their segments, and the log says so."""
    server = Server(tmp_path / "data")
    home = server.store.create_repository(HOME)
    back_up(home, ALICE, "one", "abc")
    server.store.close()
    index = tmp_path / "data" / "repositories" / "home" / "index.sqlite"
    saved = index.read_bytes()
    server = Server(tmp_path / "data")
    back_up(server.store.repository(HOME), ALICE, "two", "ab")
    back_up(server.store.repository(HOME), ALICE, "three", "ab")
    server.store.close()
    index.write_bytes(saved)
    server = Server(tmp_path / "data")
    assert server.store.repository(HOME).generation_count() == 3
    assert server.names() == ["commit", "commit", "commit", "commits-adopted"]
    assert server.events()[-1]["details"] == {"first": 2, "last": 3, "count": 2}
    server.store.close()
    # Making an index anew is told by whoever does it, once.
    assert rebuild_index(tmp_path / "data", HOME, Clock()) == []
    assert len(server.names()) == 4


def test_a_commit_that_fails_after_its_line(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = server.store.create_repository(HOME)
    session = home.begin_session(ALICE, None)
    put(home, session, "abc")
    home.refer(ALICE, session, [chunk_id(n) for n in "abc"], [])

    def fail(*_: object) -> None:
        raise StoreFull("index.sqlite")

    with monkeypatch.context() as patched:
        patched.setattr(type(home._index), "put_generation", fail)
        with pytest.raises(StoreFull):
            home.commit(ALICE, session, commit_of("one", None, "abc"))
    assert server.names() == ["commit", "not-done"]
    assert server.events()[1]["details"]["of"] == 1
    home.commit(ALICE, session, commit_of("one", None, "abc"))
    assert server.names() == ["commit", "not-done", "commit"]


def test_damage_that_the_scrub_finds(server: Server) -> None:
    home = server.store.create_repository(HOME)
    back_up(home, ALICE, "one", "abc")
    break_chunk(server.data, home, chunk_id("a"))
    assert server.names() == ["commit", "damage"]
    details = server.events()[-1]["details"]
    assert details == {"segment": f"{1:016x}", "chunks": 1, "problem": None}
