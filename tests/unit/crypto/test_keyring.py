"""Keyring slots: the passphrase opens them; a hostile server gains nothing by changing them."""

import struct

import nacl.exceptions
import nacl.pwhash
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from obnam.crypto import keyring
from obnam.crypto.key_mark import is_mark, is_marked, new_mark
from obnam.crypto.keyring import MINIMAL, MODERATE, Cost, new_slot, open_keyring, unwrap, wrap
from obnam.crypto.keys import MasterKey
from obnam.errors import KeyringTooDear, SealBroken, UnknownFormat, WrongPassphrase
from obnam.wire.limits import KEYRING_SLOT_MAX
from obnam.wire.messages import KeyringSlot

MASTER = MasterKey(bytes(range(32)))
SLOT = new_slot(MASTER, "open sesame", "laptop", MINIMAL)


def with_field(offset: int, layout: str, value: int) -> KeyringSlot:
    sealed = bytearray(SLOT.sealed)
    struct.pack_into(layout, sealed, offset, value)
    return evolve(SLOT, sealed=bytes(sealed))


def test_the_passphrase_opens_and_another_does_not() -> None:
    assert unwrap(SLOT, "open sesame") == MASTER
    assert SLOT.label == "laptop"
    for wrong in ("", "open sesam", "open sesame ", "Open sesame"):
        with pytest.raises(WrongPassphrase):
            unwrap(SLOT, wrong)


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_any_text_is_a_passphrase(passphrase: str) -> None:
    assert unwrap(new_slot(MASTER, passphrase, "", MINIMAL), passphrase) == MASTER


def test_a_passphrase_does_not_depend_on_how_a_keyboard_composes_it() -> None:
    slot = new_slot(MASTER, "pässword", "", MINIMAL)
    assert unwrap(slot, "pa\u0308ssword") == MASTER


def test_a_passphrase_that_is_no_utf8_works() -> None:
    odd = b"p\xe4ss".decode("utf-8", "surrogateescape")
    assert unwrap(new_slot(MASTER, odd, "", MINIMAL), odd) == MASTER


def test_slots_of_one_passphrase_differ_and_show_nothing() -> None:
    other = new_slot(MASTER, "open sesame", "laptop", MINIMAL)
    assert other.slot != SLOT.slot
    assert other.sealed[46:] != SLOT.sealed[46:]
    assert MASTER.secret not in other.sealed
    assert len(other.sealed) <= KEYRING_SLOT_MAX


def test_every_flipped_byte_is_found() -> None:
    for position in range(len(SLOT.sealed)):
        sealed = bytearray(SLOT.sealed)
        sealed[position] ^= 0x40
        with pytest.raises((WrongPassphrase, SealBroken, UnknownFormat)):
            unwrap(evolve(SLOT, sealed=bytes(sealed)), "open sesame")


def test_every_truncation_is_found() -> None:
    for length in range(len(SLOT.sealed)):
        with pytest.raises(SealBroken):
            unwrap(evolve(SLOT, sealed=SLOT.sealed[:length]), "open sesame")


def test_a_slot_does_not_pass_for_another() -> None:
    with pytest.raises(SealBroken):
        unwrap(evolve(SLOT, slot="0" * 32), "open sesame")


@pytest.mark.parametrize(
    "cost",
    [
        Cost(keyring.OPERATIONS_MAX + 1, MINIMAL.memory_bytes),
        Cost(0, MINIMAL.memory_bytes),
        Cost(1, keyring.MEMORY_MAX + 1),
        Cost(1, MINIMAL.memory_bytes - 1),
        Cost(2**32 - 1, 2**64 - 1),
    ],
)
def test_a_hostile_cost_is_refused_before_it_is_paid(cost: Cost) -> None:
    sealed = bytearray(SLOT.sealed)
    struct.pack_into("<IQ", sealed, 2, cost.operations, cost.memory_bytes)
    with pytest.raises(SealBroken):
        unwrap(evolve(SLOT, sealed=bytes(sealed)), "open sesame")


def test_a_newer_format_is_named() -> None:
    for offset in (0, 1):
        with pytest.raises(UnknownFormat, match="newer"):
            unwrap(with_field(offset, "B", 2), "open sesame")


def test_too_little_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_args: object, **_kwargs: object) -> bytes:
        raise nacl.exceptions.RuntimeError("no memory")

    monkeypatch.setattr(nacl.pwhash.argon2id, "kdf", no_memory)
    with pytest.raises(KeyringTooDear, match="256 MiB"):
        wrap(MASTER, "x", "0" * 32, MODERATE)


def test_moderate_is_what_it_says() -> None:
    assert Cost(3, 256 << 20) == MODERATE


def test_the_keyring_opens_with_any_of_its_passphrases() -> None:
    slots = [new_slot(MASTER, text, text, MINIMAL) for text in ("one", "two", "three")]
    for text in ("one", "two", "three"):
        assert open_keyring(slots, text) == MASTER
    with pytest.raises(WrongPassphrase):
        open_keyring(slots, "four")
    with pytest.raises(WrongPassphrase):
        open_keyring([], "one")


def test_a_damaged_slot_does_not_keep_another_from_opening() -> None:
    damaged = evolve(SLOT, sealed=SLOT.sealed[:50])
    newer = with_field(0, "B", 9)
    assert open_keyring([damaged, newer, SLOT], "open sesame") == MASTER
    with pytest.raises(WrongPassphrase):
        open_keyring([damaged, newer, SLOT], "another")
    with pytest.raises(SealBroken):
        open_keyring([damaged, newer], "open sesame")
    with pytest.raises(UnknownFormat):
        open_keyring([newer, damaged], "open sesame")


def test_the_mark_of_a_key() -> None:
    """A known answer: a change of it would have a repository begun twice."""
    mark = new_mark(MasterKey(bytes(range(32))))
    known = "01008771f132c4d772f57171da4b71497f5f2411f292637d88a92c6eec4d7be8bb5c"
    assert mark.sealed.hex() == known
    assert is_mark(mark)
    assert is_marked([mark], MasterKey(bytes(range(32))))
    with pytest.raises(WrongPassphrase):
        open_keyring([mark], "")
