"""Slots of the keyring: the master key, wrapped under a passphrase (``docs/format/keyring.md``).

The server holds the slots and is not trusted: it sees their parameters and may change them, so
they are bounded here and bound to what they wrap. Imported only where a passphrase is used.
"""

import hmac
import struct
import unicodedata
from collections.abc import Iterable

from attrs import frozen
from nacl import pwhash
from nacl.exceptions import RuntimeError as SodiumFailed

from obnam.crypto.envelope import HEADER_BYTES, BadEnvelope, Compression, Packer, Unpacker
from obnam.crypto.key_mark import is_mark
from obnam.crypto.keys import MASTER_KEY_BYTES, MasterKey, derive
from obnam.crypto.padding import stored_length
from obnam.crypto.randomness import random_bytes
from obnam.crypto.sodium import CIPHERS, NotAuthentic, Suite
from obnam.errors import KeyringTooDear, ObnamError, SealBroken, UnknownFormat, WrongPassphrase
from obnam.model.chunk import ChunkKind
from obnam.model.ids import parse_generation_id
from obnam.wire.messages import KeyringSlot

FORMAT = 1
_ARGON2ID13 = 1
_HEADER = struct.Struct("<BBIQ16s32s")  # format, function, operations, memory, salt, commitment
_SALT_BYTES = 16
_DOMAIN = b"obnam keyring slot 1"

# Slots are rare and small, and must open on any machine: no suite to choose.
_CIPHER = CIPHERS[Suite.XCHACHA20POLY1305]

OPERATIONS_MAX = 16
MEMORY_MAX = 1 << 30
"""Dearer slots are refused: a hostile server must not exhaust the client. Four times MODERATE."""


@frozen
class Cost:
    """What one guess of a passphrase costs: Argon2id passes, and memory in bytes."""

    operations: int
    memory_bytes: int


MODERATE = Cost(
    pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE
)  # 3 passes over 256 MiB: under a second
MINIMAL = Cost(pwhash.argon2id.OPSLIMIT_MIN, pwhash.argon2id.MEMLIMIT_MIN)
"""Protects nothing. For tests of what lies around the function."""


def new_slot(master: MasterKey, passphrase: str, label: str, cost: Cost) -> KeyringSlot:
    """A slot with a new random id that opens with ``passphrase``; ``label`` stays readable."""
    slot = random_bytes(16).hex()
    return KeyringSlot(slot, label, wrap(master, passphrase, slot, cost))


def wrap(master: MasterKey, passphrase: str, slot: str, cost: Cost) -> bytes:
    """The sealed bytes of the slot with that id (32 hexadecimal digits)."""
    salt, nonce = random_bytes(_SALT_BYTES), random_bytes(_CIPHER.nonce_bytes)
    return _wrap_from_parts(master, passphrase, slot, cost, salt, nonce)


def unwrap(slot: KeyringSlot, passphrase: str) -> MasterKey:
    """The master key in ``slot``.

    Raises `WrongPassphrase`; `SealBroken` when the slot is no slot, or was changed;
    `UnknownFormat` when a newer Obnam made it; `KeyringTooDear`.
    """
    what = f"keyring slot {slot.slot}"
    sealed = memoryview(slot.sealed)
    if len(sealed) < _HEADER.size + _CIPHER.nonce_bytes:
        raise SealBroken(what)
    header = bytes(sealed[: _HEADER.size])
    version, function, operations, memory, salt, commitment = _HEADER.unpack(header)
    if version != FORMAT or function != _ARGON2ID13:
        raise UnknownFormat(what, f"{version}.{function}", f"{FORMAT}.{_ARGON2ID13}")
    cost = Cost(operations, memory)
    if not (
        MINIMAL.operations <= operations <= OPERATIONS_MAX
        and MINIMAL.memory_bytes <= memory <= MEMORY_MAX
    ):
        raise SealBroken(what)
    stretched = _stretched(passphrase, salt, cost)
    if not hmac.compare_digest(commitment, _commitment(stretched)):
        raise WrongPassphrase
    start = _HEADER.size + _CIPHER.nonce_bytes
    area = memoryview(bytearray(len(sealed)))
    try:
        length = _CIPHER.decrypt_into(
            area,
            sealed[start:],
            _associated(slot.slot, header),
            bytes(sealed[_HEADER.size : start]),
            derive(stretched, b"slot seal"),
        )
        return MasterKey(bytes(Unpacker().unpack(area[:length])))
    except (NotAuthentic, BadEnvelope, ValueError) as error:
        raise SealBroken(what) from error


def open_keyring(slots: Iterable[KeyringSlot], passphrase: str) -> MasterKey:
    """The master key, from the first slot that ``passphrase`` opens.

    A slot that is damaged, or of a newer Obnam, does not keep another from opening. Raises
    `WrongPassphrase` when none opens; when no slot could even be tried, what the first raised.
    """
    unusable: ObnamError | None = None
    tried = False
    for slot in slots:
        if is_mark(slot):
            continue
        try:
            return unwrap(slot, passphrase)
        except WrongPassphrase:
            tried = True
        except (SealBroken, UnknownFormat) as error:
            unusable = unusable or error
    if unusable is not None and not tried:
        raise unusable
    raise WrongPassphrase from unusable


def _wrap_from_parts(
    master: MasterKey, passphrase: str, slot: str, cost: Cost, salt: bytes, nonce: bytes
) -> bytes:
    stretched = _stretched(passphrase, salt, cost)
    header = _HEADER.pack(
        FORMAT, _ARGON2ID13, cost.operations, cost.memory_bytes, salt, _commitment(stretched)
    )
    area = memoryview(bytearray(stored_length(HEADER_BYTES + MASTER_KEY_BYTES) + _CIPHER.tag_bytes))
    length = _CIPHER.encrypt_in_place(
        area,
        Packer(Compression(None)).pack_into(master.secret, area),
        _associated(slot, header),
        nonce,
        derive(stretched, b"slot seal"),
    )
    return header + nonce + bytes(area[:length])


def _stretched(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """32 bytes of Argon2id. The same passphrase in another Unicode form is the same."""
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
    try:
        return pwhash.argon2id.kdf(
            32, text, salt, opslimit=cost.operations, memlimit=cost.memory_bytes
        )
    except SodiumFailed as error:
        raise KeyringTooDear(cost.memory_bytes) from error


def _commitment(stretched: bytes) -> bytes:
    """Fixes the key that opens the slot: no slot opens under two passphrases.

    Without it the server could craft slots that answer for many passphrases at once (Len, Grubbs,
    Ristenpart: "Partitioning Oracle Attacks", USENIX Security 2021).
    """
    return derive(stretched, b"slot commitment")


def _associated(slot: str, header: bytes) -> bytes:
    return b"%b%c%b%b" % (
        _DOMAIN,
        ChunkKind.KEYRING_SLOT,
        bytes.fromhex(parse_generation_id(slot)),
        header,
    )
