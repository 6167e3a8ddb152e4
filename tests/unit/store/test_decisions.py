"""Trash, pins, hold and alarms: what may be deleted, and that decisions last."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from obnam.errors import NotFound
from obnam.model.ids import GenerationId
from obnam.wire.limits import PIN_REASON_MAX
from obnam_server.store.errors import Kept
from obnam_server.store.store import Store
from tests.support.one_repository import SoundRepository
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    back_up,
    generation_id,
    index_path,
    segment_paths,
)


@define
class Server(SoundRepository):
    """A store with three backups of one client, and one of another."""

    def listed(self) -> list[GenerationId]:
        return [each.receipt.generation for each in self.home.list_generations(0, 100)]


ONE, TWO, THREE, THEIRS = map(generation_id, ("one", "two", "three", "theirs"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    back_up(server.home, ALICE, "one", "ab")
    back_up(server.home, ALICE, "two", "bc")
    back_up(server.home, BOB, "theirs", "cd")
    back_up(server.home, ALICE, "three", "ce")
    yield server
    server.store.close()


def test_what_is_deleted_is_not_listed_and_can_be_had_back(server: Server) -> None:
    server.home.change(server.home.decisions.delete, [ONE], "admin", "old")
    for again in (server.restart, server.rebuild):
        again()
        assert server.listed() == [TWO, THEIRS, THREE]
        assert server.home.generation_count() == 3
        mark = server.home.decisions.all()[0].trashed
        assert mark is not None
        assert (mark.by, mark.reason) == ("admin", "old")
    server.home.change(server.home.decisions.undelete, [ONE])
    for again in (server.restart, server.rebuild):
        again()
        assert server.listed() == [ONE, TWO, THEIRS, THREE]


def test_what_is_expunged_is_gone(server: Server) -> None:
    before = len(segment_paths(server.data))
    server.home.change(server.home.decisions.delete, [ONE, TWO], "admin", "old")
    server.home.change(server.home.decisions.expunge, [ONE])
    # The commit of one is gone, the register has come.
    assert len(segment_paths(server.data)) == before
    for again in (server.restart, server.rebuild):
        again()
        with pytest.raises(NotFound):
            server.home.get_generation(ONE)
        with pytest.raises(NotFound):
            server.home.decisions.undelete([ONE])
        assert [each.summary.receipt.generation for each in server.home.decisions.all()] == [
            TWO,
            THEIRS,
            THREE,
        ]
    server.home.change(server.home.decisions.undelete, [TWO])
    assert server.listed() == [TWO, THEIRS, THREE]


def test_a_commit_that_a_crash_left_behind_is_not_brought_back(server: Server) -> None:
    commit = next(p for p in segment_paths(server.data) if b"manifest of one" in p.read_bytes())
    content = commit.read_bytes()
    server.home.change(server.home.decisions.delete, [ONE], "admin", "old")
    register = segment_paths(server.data)[-1]
    kept = register.read_bytes()
    server.home.change(server.home.decisions.expunge, [ONE])
    commit.write_bytes(content)
    register.write_bytes(kept)
    server.restart()
    assert not commit.exists()
    assert not register.exists()
    assert server.listed() == [TWO, THEIRS, THREE]
    commit.write_bytes(content)
    register.write_bytes(kept)
    server.rebuild()
    assert not commit.exists()
    assert not register.exists()
    assert server.listed() == [TWO, THEIRS, THREE]


def test_a_register_that_the_index_does_not_know_yet_is_obeyed(server: Server) -> None:
    """The crash came between the segment and the index."""
    server.store.close()
    old = index_path(server.data).read_bytes()
    server.start()
    server.home.change(server.home.decisions.delete, [ONE, TWO], "admin", "old")
    server.home.change(server.home.decisions.expunge, [TWO])
    server.store.close()
    for path in index_path(server.data).parent.glob("index.sqlite*"):
        path.unlink()
    index_path(server.data).write_bytes(old)
    server.store = Store.open(server.data, server.clock)
    server.home = server.store.create_repository(HOME)
    assert server.listed() == [THEIRS, THREE]
    with pytest.raises(NotFound):
        server.home.get_generation(TWO)


def test_the_newest_of_each_client_stays(server: Server) -> None:
    for generation in (THREE, THEIRS):
        with pytest.raises(Kept, match="newest"):
            server.home.decisions.delete([ONE, generation], "admin", "old")
    assert server.listed() == [ONE, TWO, THEIRS, THREE]
    server.home.change(server.home.decisions.delete, [ONE, TWO], "admin", "old")
    assert server.listed() == [THEIRS, THREE]


def test_what_is_pinned_stays(server: Server) -> None:
    server.home.change(server.home.decisions.pin, ONE, "admin", "before the move")
    server.restart()
    with pytest.raises(Kept, match="before the move"):
        server.home.decisions.delete([ONE], "admin", "old")
    server.home.change(server.home.decisions.unpin, ONE)
    server.home.change(server.home.decisions.delete, [ONE], "admin", "old")
    with pytest.raises(Kept, match="undelete"):
        server.home.decisions.pin(ONE, "admin", "too late")


def test_a_hold_stops_every_deletion(server: Server) -> None:
    server.home.change(server.home.decisions.delete, [ONE], "admin", "old")
    server.home.change(server.home.decisions.hold, "admin", "case 7")
    server.restart()
    with pytest.raises(Kept, match="case 7"):
        server.home.decisions.delete([TWO], "admin", "old")
    with pytest.raises(Kept, match="case 7"):
        server.home.decisions.expunge([ONE])
    server.home.change(server.home.decisions.undelete, [ONE])
    server.home.change(server.home.decisions.release)
    server.home.change(server.home.decisions.delete, [ONE, TWO], "admin", "old")


def test_only_what_is_in_the_trash_is_expunged(server: Server) -> None:
    with pytest.raises(Kept, match="trash"):
        server.home.decisions.expunge([ONE])
    with pytest.raises(NotFound):
        server.home.decisions.delete([ONE, generation_id("never")], "admin", "old")
    assert server.listed() == [ONE, TWO, THEIRS, THREE]


def test_the_first_alarm_of_a_client_stays_until_it_is_acknowledged(server: Server) -> None:
    server.home.change(server.home.decisions.alarm, ALICE, TWO, "all of it changed")
    server.home.change(server.home.decisions.alarm, ALICE, THREE, "again")
    server.rebuild()
    alarm = server.home.decisions.register().alarms[ALICE]
    assert (alarm.generation, alarm.mark.reason) == (TWO, "all of it changed")
    server.home.change(server.home.decisions.acknowledge, ALICE)
    assert server.home.decisions.register().alarms == {}


def test_an_acknowledged_alarm_is_the_only_one_that_ends(server: Server) -> None:
    server.home.change(server.home.decisions.alarm, ALICE, TWO, "all of it changed")
    server.home.change(server.home.decisions.alarm, BOB, THEIRS, "all of it changed")
    server.home.change(server.home.decisions.acknowledge, ALICE)
    assert list(server.home.decisions.register().alarms) == [BOB]


def test_what_is_in_the_trash_already_stays_as_it_is(server: Server) -> None:
    """It was put there then, and leaves it by that time."""
    decisions = server.home.decisions
    server.home.change(decisions.delete, [ONE], "admin", "old")
    before = decisions.register().trash[ONE]
    server.home.change(decisions.delete, [ONE, TWO], "another", "older")
    assert decisions.register().trash[ONE] == before
    assert decisions.register().trash[TWO].by == "another"
    # What is gone for good is not in the trash, either.
    server.home.change(decisions.expunge, [ONE])
    assert list(decisions.register().trash) == [TWO]
    server.rebuild()
    assert list(server.home.decisions.register().trash) == [TWO]


def test_a_long_reason_does_not_spoil_the_list(server: Server) -> None:
    """Clients take reasons up to a limit, and an administrator may have more to say."""
    reason = "x" * (PIN_REASON_MAX + 1)
    server.home.change(server.home.decisions.pin, ONE, "admin", reason)
    first, *_ = server.home.decisions.listed(0, 9)
    assert first.pinned == reason[:-1]
    assert server.home.decisions.register().pins[ONE].reason == reason


def test_sequence_numbers_are_not_given_twice(server: Server) -> None:
    server.home.change(server.home.decisions.delete, [ONE, TWO], "admin", "old")
    server.home.change(server.home.decisions.expunge, [ONE, TWO])
    server.rebuild()
    back_up(server.home, ALICE, "four", "x")
    assert [each.receipt.sequence for each in server.home.list_generations(0, 9)] == [3, 4, 5]
