"""Joining a repository by its keyring, and changing the keyring, beside others who do so."""

from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred, fail

from obnam.crypto.key_mark import is_mark, is_marked, new_mark
from obnam.crypto.keyring import MINIMAL, new_slot, open_keyring
from obnam.crypto.keys import MasterKey
from obnam.errors import RequestRefused, UnknownReference, UsageError, WrongPassphrase
from obnam.model.chunk import SetSum
from obnam.model.ids import CHUNK_ID_BYTES, GenerationId, SessionId, parse_chunk_id
from obnam.repository.slots import CHANGES_MAX, NoKeyForRepository, Slots, chosen
from obnam.wire.messages import Commit, Keyring, KeyringSlot
from tests.support.at_once import CallerThread, result_of
from tests.support.memory_repository import MemoryRepository, MemoryServer

OURS, THEIRS = MasterKey(b"o" * 32), MasterKey(b"t" * 32)


class Ask:
    """Answers with one passphrase, and notes what was asked for."""

    def __init__(self, passphrase: str | None) -> None:
        self.passphrase = passphrase
        self.asked: list[bool] = []

    def __call__(self, *, new: bool) -> str | None:
        self.asked.append(new)
        return self.passphrase


class Note:
    """Keeps a key in memory."""

    def __init__(self, master: MasterKey | None = None) -> None:
        self.master = master

    def load(self) -> MasterKey | None:
        return self.master

    def save(self, master: MasterKey) -> None:
        self.master = master


class Contested(MemoryRepository):
    """Somebody else puts ``slot`` into the keyring just before us, ``times`` times."""

    slot: KeyringSlot
    times = 1

    def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> "Deferred[Keyring]":
        if self.times:
            self.times -= 1
            self.server.slots = (self.slot,)
            self.server.slots_version += 1
        return super().put_keyring(slots, etag)


class AnswerLost(MemoryRepository):
    """The first put goes through, and is refused when the client repeats it."""

    lost = False

    def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> "Deferred[Keyring]":
        done = super().put_keyring(slots, etag)
        if self.lost:
            return done
        self.lost = True
        return fail(RequestRefused("server", "someone else changed it meanwhile"))


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


def slots_of(repository: MemoryRepository) -> Slots:
    return Slots(repository, CallerThread(), "laptop", MINIMAL)


def back_up(server: MemoryServer) -> None:
    repository = server.client()
    chunk = parse_chunk_id(b"\1" + bytes(CHUNK_ID_BYTES - 1))
    session = result_of(_begin(repository))
    commit = Commit(GenerationId("a" * 32), None, SetSum(), chunk, b"manifest")
    repository.commit(session, commit)
    assert server.generations


async def _begin(repository: MemoryRepository) -> SessionId:
    return await repository.begin_session(None)


def test_the_first_makes_a_key_and_a_slot(server: MemoryServer) -> None:
    ask = Ask("open")
    joined = result_of(slots_of(server.client()).join(ask, Note()))
    assert ask.asked == [True]
    assert joined.protected
    mark, slot = server.slots
    assert is_mark(mark)
    assert is_marked(server.slots, joined.master)
    assert not is_marked([mark, new_mark(OURS)], THEIRS)
    assert slot.label == "laptop"
    assert open_keyring(server.slots, "open") == joined.master
    assert list(result_of(slots_of(server.client()).list())) == [slot]


def test_the_first_may_do_without_a_passphrase(server: MemoryServer) -> None:
    """It is known all the same that there is a key, so that nobody makes another one."""
    note = Note()
    joined = result_of(slots_of(server.client()).join(Ask(None), note))
    assert not joined.protected
    (mark,) = server.slots
    assert is_mark(mark)
    assert is_marked(server.slots, joined.master)
    for passphrase in ("open", None):
        for other in (Note(), Note(THEIRS)):
            with pytest.raises(NoKeyForRepository, match="destroy it and begin again"):
                result_of(slots_of(server.client()).join(Ask(passphrase), other))
    slots = slots_of(server.client())
    assert result_of(slots.list()) == []
    with pytest.raises(UnknownReference, match="obnam key add"):
        result_of(slots.replace(None, joined.master, "open"))
    added = result_of(slots.add(joined.master, "open"))
    assert result_of(slots.list()) == [added]
    assert result_of(slots.join(Ask("open"), Note())).master == joined.master
    with pytest.raises(UsageError, match="last slot"):
        result_of(slots.remove(added.slot))
    with pytest.raises(UnknownReference):
        result_of(slots.remove(mark.slot))


def test_a_first_one_that_was_cut_short_goes_on(server: MemoryServer) -> None:
    """The server knew that there is a key before it was in ``secrets.yaml``."""
    note = Note()
    master = result_of(slots_of(server.client()).join(Ask(None), note)).master
    assert result_of(slots_of(server.client()).join(Ask(None), note)).master == master


def test_a_first_one_whose_answer_was_lost(server: MemoryServer) -> None:
    repository = AnswerLost(server, server.client().name)
    master = result_of(slots_of(repository).join(Ask(None), Note())).master
    assert is_marked(server.slots, master)


def test_of_two_without_a_passphrase_one_is_first(server: MemoryServer) -> None:
    contested = Contested(server, server.client().name)
    contested.slot = new_mark(THEIRS)
    with pytest.raises(NoKeyForRepository):
        result_of(slots_of(contested).join(Ask(None), Note()))
    assert server.slots == (contested.slot,)


def test_the_second_gets_the_key_of_the_first(server: MemoryServer) -> None:
    server.slots = (new_slot(THEIRS, "open", "first", MINIMAL),)
    ask = Ask("open")
    assert result_of(slots_of(server.client()).join(ask, Note())).master == THEIRS
    assert ask.asked == [False]
    with pytest.raises(WrongPassphrase):
        result_of(slots_of(server.client()).join(Ask("sesame"), Note()))
    with pytest.raises(UsageError):
        result_of(slots_of(server.client()).join(Ask(None), Note()))


def test_backups_without_a_keyring_give_no_key(server: MemoryServer) -> None:
    """A new key would split the repository in two."""
    back_up(server)
    for passphrase in ("open", None):
        with pytest.raises(NoKeyForRepository):
            result_of(slots_of(server.client()).join(Ask(passphrase), Note()))
    assert server.slots == ()


def test_of_two_first_ones_one_is_first(server: MemoryServer) -> None:
    contested = Contested(server, server.client().name)
    contested.slot = new_slot(THEIRS, "open", "first", MINIMAL)
    assert result_of(slots_of(contested).join(Ask("open"), Note())).master == THEIRS
    assert server.slots == (contested.slot,)


def test_add_replace_remove(server: MemoryServer) -> None:
    slots = slots_of(server.client())
    first = result_of(slots.add(OURS, "one"))
    second = result_of(slots.add(OURS, "two"))
    assert result_of(slots.list()) == [first, second]
    third = result_of(slots.replace(first.slot[:8], OURS, "three"))
    assert server.slots == (third, second)
    with pytest.raises(WrongPassphrase):
        open_keyring(server.slots, "one")
    assert open_keyring(server.slots, "three") == OURS
    assert result_of(slots.remove(third.slot)) == third
    assert list(server.slots) == [second]
    with pytest.raises(UsageError, match="last slot"):
        result_of(slots.remove(second.slot))
    only = result_of(slots.replace(None, OURS, "four"))
    assert list(server.slots) == [only]


def test_another_passphrase_leaves_the_label(server: MemoryServer) -> None:
    """Whatever the computer is called that changes it."""
    result_of(slots_of(server.client()).add(OURS, "one"))
    other = Slots(server.client(), CallerThread(), "desktop", MINIMAL)
    changed = result_of(other.replace("laptop", OURS, "two"))
    assert changed.label == "laptop"
    assert list(server.slots) == [changed]


def test_a_change_beside_another_keeps_both(server: MemoryServer) -> None:
    contested = Contested(server, server.client().name)
    contested.slot = new_slot(OURS, "theirs", "other", MINIMAL)
    ours = result_of(slots_of(contested).add(OURS, "ours"))
    assert server.slots == (contested.slot, ours)


def test_a_change_whose_answer_was_lost_is_made_once(server: MemoryServer) -> None:
    ours = result_of(slots_of(AnswerLost(server, server.client().name)).add(OURS, "ours"))
    assert server.slots == (ours,)


def test_a_keyring_that_never_rests(server: MemoryServer) -> None:
    contested = Contested(server, server.client().name)
    contested.slot = new_slot(OURS, "theirs", "other", MINIMAL)
    contested.times = CHANGES_MAX
    with pytest.raises(RequestRefused, match="all the time"):
        result_of(slots_of(contested).add(OURS, "ours"))


def test_slots_are_called_by_id_or_label() -> None:
    slots = [KeyringSlot(digit * 32, label, b"") for digit, label in ("ax", "bx", "cy")]
    assert chosen(slots, "y") is slots[2]
    assert chosen(slots, "a") is slots[0]
    for name in ("x", "z", None):
        with pytest.raises(UnknownReference):
            chosen(slots, name)
    with pytest.raises(UnknownReference):
        chosen([], None)
