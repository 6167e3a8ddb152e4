"""The master key of a repository, and the purpose keys derived from it.

Every purpose has its own key, so that no key is ever used for two things. The derivation is
keyed BLAKE2b over a context string; ``docs/format/keys.md`` lists the contexts, and
``tests/vectors/keys.json`` holds known answers. Changing any of it orphans every repository.
"""

import hashlib
from collections.abc import Mapping

from attrs import field, frozen

from obnam.crypto.randomness import random_bytes
from obnam.model.chunk import ChunkKind

MASTER_KEY_BYTES = 32
KEY_BYTES = 32

_PERSON = b"obnam keys 1"  # BLAKE2b personalisation: no other program derives the same keys

_ID_CONTEXTS = {
    ChunkKind.DATA: b"id data",
    ChunkKind.GENERATION_DATABASE: b"id generation database",
    ChunkKind.MANIFEST: b"id manifest",
    ChunkKind.KEYRING_SLOT: b"id keyring slot",
}

_CUTTER_SEED_BITS = 63
# pyfastcdc shifts the seed left by one into 64 bits, so it takes 63.


@frozen
class MasterKey:
    """The random secret of a repository: whoever has it can read and forge everything."""

    secret: bytes = field(repr=False)

    @secret.validator
    def _check(self, _attribute: object, value: bytes) -> None:
        if len(value) != MASTER_KEY_BYTES:
            raise ValueError(f"a master key has {MASTER_KEY_BYTES} bytes")

    @classmethod
    def generate(cls) -> "MasterKey":
        """A new random one."""
        return cls(random_bytes(MASTER_KEY_BYTES))


def derive(key: bytes, context: bytes) -> bytes:
    """32 bytes: keyed BLAKE2b-256 of ``context``, personalised for Obnam."""
    return hashlib.blake2b(context, digest_size=KEY_BYTES, key=key, person=_PERSON).digest()


@frozen
class RepositoryKeys:
    """The purpose keys of one repository. Plain bytes, so that pool workers can be given them.

    ``id_keys`` name chunks, one per kind; ``data`` seals chunks of kind ``DATA``, ``metadata``
    those of the other kinds; ``cutter_seed`` (63 bits) moves the cut points; ``signing_seed`` is
    an Ed25519 seed. ``fingerprint`` (32 hexadecimal digits) is no secret: it names the repository
    on the client's disk.
    """

    id_keys: Mapping[ChunkKind, bytes] = field(repr=False)
    data: bytes = field(repr=False)
    metadata: bytes = field(repr=False)
    cutter_seed: int = field(repr=False)
    signing_seed: bytes = field(repr=False)
    fingerprint: str = field(repr=False)

    @classmethod
    def derive(cls, master: MasterKey) -> "RepositoryKeys":
        """All purpose keys of ``master``."""
        secret = master.secret
        seed = int.from_bytes(derive(secret, b"cutter")[:8], "little")
        return cls(
            id_keys={kind: derive(secret, context) for kind, context in _ID_CONTEXTS.items()},
            data=derive(secret, b"data"),
            metadata=derive(secret, b"metadata"),
            cutter_seed=seed & ((1 << _CUTTER_SEED_BITS) - 1),
            signing_seed=derive(secret, b"signing"),
            fingerprint=derive(secret, b"fingerprint")[:16].hex(),
        )

    def sealing_key(self, kind: ChunkKind) -> bytes:
        """The key that seals chunks of ``kind``.

        A slot of the keyring is sealed under a passphrase, by `obnam.crypto.keyring`, and never
        here: ``ValueError``.
        """
        if kind is ChunkKind.KEYRING_SLOT:
            raise ValueError("a keyring slot is not sealed under a repository's keys")
        return self.data if kind is ChunkKind.DATA else self.metadata
