"""The mark of a repository's master key in its keyring: there is a key, and it is this one.

Without it, a repository whose first computer made no passphrase would look as if it had no key,
and the next computer would make another one. See ``docs/format/keyring.md``.
"""

import hmac
from collections.abc import Iterable

from obnam.crypto.keys import KEY_BYTES, MasterKey, derive
from obnam.crypto.randomness import random_bytes
from obnam.wire.messages import KeyringSlot

LABEL = "key"

_HEADER = b"\x01\x00"  # format, function: none
_CONTEXT = b"key mark"


def new_mark(master: MasterKey) -> KeyringSlot:
    """A slot that says which key is the repository's, and opens with nothing."""
    sealed = _HEADER + derive(master.secret, _CONTEXT)
    return KeyringSlot(random_bytes(16).hex(), LABEL, sealed)


def is_mark(slot: KeyringSlot) -> bool:
    """Whether a slot holds no wrapped key."""
    return slot.sealed[: len(_HEADER)] == _HEADER and len(slot.sealed) == len(_HEADER) + KEY_BYTES


def is_marked(slots: Iterable[KeyringSlot], master: MasterKey) -> bool:
    """Whether one of the slots is the mark of this key."""
    mark = _HEADER + derive(master.secret, _CONTEXT)
    return any(hmac.compare_digest(mark, slot.sealed) for slot in slots)
