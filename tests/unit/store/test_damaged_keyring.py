"""A keyring that cannot be read: told of, given up by a rebuild, made anew by who has the key."""

import json
from pathlib import Path

import pytest
from twisted.python.failure import Failure

from obnam.wire.messages import KeyringSlot
from obnam.wire.problems import name_of
from obnam_server.problems import answer_to
from obnam_server.store.errors import DamagedKeyring
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.support.stored import ALICE, HOME, Clock, back_up, segment_paths

SLOTS = (KeyringSlot("0" * 32, "one", b"sealed"), KeyringSlot("1" * 32, "two", b"sealed, too"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A keyring of two slots, in the first segment, and a generation."""
    store = Store.open(tmp_path, Clock())
    home = store.create_repository(HOME)
    home.put_keyring(SLOTS, "0")
    back_up(home, ALICE, "one", "ab")
    store.close()
    return tmp_path


def spoil(data: Path, old: bytes, new: bytes) -> None:
    """Change some bytes of the keyring's segment."""
    path = segment_paths(data)[0]
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("how", ["spoilt", "gone"])
def test_it_is_named_with_the_way_out(data: Path, how: str) -> None:
    if how == "gone":
        segment_paths(data)[0].unlink()
    else:
        spoil(data, b'"slots"', b'"slotz"')
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    with pytest.raises(DamagedKeyring) as caught:
        home.get_keyring()
    with pytest.raises(DamagedKeyring):
        home.put_keyring(SLOTS, "1")
    store.close()
    failure = Failure(caught.value)  # type: ignore[no-untyped-call]
    answer = answer_to(failure)
    document = json.loads(answer.body)
    assert (answer.status, name_of(document)) == (500, "repository-unusable")
    assert "obnam-server rebuild-index" in document["detail"]
    assert "obnam key add" in document["detail"]
    assert str(data) not in document["detail"]

    rebuild_index(data, HOME, Clock())
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    empty = home.get_keyring()
    assert empty.slots == ()
    assert home.put_keyring(SLOTS[:1], empty.etag).slots == SLOTS[:1]
    assert home.generation_count() == 1
    store.close()


def test_a_rebuild_keeps_the_slots_that_are_good(data: Path) -> None:
    """What one flipped bit has spoilt, its passphrase finds out."""
    spoil(data, b'"one"', b'"onf"')
    store = Store.open(data, Clock())
    before = store.repository(HOME).get_keyring()
    store.close()
    rebuild_index(data, HOME, Clock())
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert home.get_keyring() == before
    assert home.get_keyring().slots[1] == SLOTS[1]
    assert [each.problem for each in home.checking.find()] == []
    store.close()
