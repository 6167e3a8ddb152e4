"""Authenticated encryption by libsodium, straight into the caller's memory.

PyNaCl's public functions take ``bytes``, allocate a zeroed result and copy it; for 512 KiB that
takes ten times as long as the encryption itself. So this module, and nothing else, uses the
``lib`` and ``ffi`` beneath them. The vectors in ``tests/vectors/seal.json`` and a test against
the public functions hold it to the same results.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from attrs import frozen
from nacl._sodium import ffi, lib  # type: ignore[import-not-found]  # compiled, no stubs

Buffer = bytes | bytearray | memoryview


class Suite(IntEnum):
    """The authenticated encryptions of sealed chunk format 1, by their byte on the disk."""

    XCHACHA20POLY1305 = 1
    AEGIS256 = 2


class NotAuthentic(Exception):
    """The tag does not fit. Never leaves `obnam.crypto`."""


def _initialise() -> None:
    if lib.sodium_init() < 0:
        raise RuntimeError("libsodium cannot be initialised")


# Picks the implementations for this processor; harmless when PyNaCl did it before.
ffi.init_once(_initialise, "obnam libsodium")


@frozen
class Cipher:
    """One suite: its lengths in bytes, and encryption and decryption in place."""

    nonce_bytes: int
    tag_bytes: int
    _encrypt: Callable[..., int]
    _decrypt: Callable[..., int]

    def encrypt_in_place(
        self, area: memoryview, length: int, associated: bytes, nonce: bytes, key: bytes
    ) -> int:
        """Turn the first ``length`` bytes of ``area`` into ciphertext and tag; their length."""
        total = length + self.tag_bytes
        if len(area) < total or len(nonce) != self.nonce_bytes or len(key) != 32:
            raise ValueError("wrong length of area, nonce or key")
        pointer = _writable(area)
        failed = self._encrypt(
            pointer, ffi.NULL, pointer, length, associated, len(associated), ffi.NULL, nonce, key
        )
        if failed:
            raise RuntimeError("libsodium did not encrypt")
        return total

    def decrypt_into(
        self, area: memoryview, ciphertext: Buffer, associated: bytes, nonce: bytes, key: bytes
    ) -> int:
        """Write the plaintext of ``ciphertext`` (with its tag) into ``area``; its length.

        Raises `NotAuthentic`; what is in ``area`` then means nothing.
        """
        length = len(ciphertext) - self.tag_bytes
        if length < 0 or len(nonce) != self.nonce_bytes:
            raise NotAuthentic
        if len(area) < length or len(key) != 32:
            raise ValueError("wrong length of area or key")
        failed = self._decrypt(
            _writable(area),
            ffi.NULL,
            ffi.NULL,
            ffi.from_buffer("unsigned char[]", ciphertext),
            len(ciphertext),
            associated,
            len(associated),
            nonce,
            key,
        )
        if failed:
            raise NotAuthentic
        return length


def _writable(area: memoryview) -> Any:
    return ffi.from_buffer("unsigned char[]", area, require_writable=True)


CIPHERS = {
    Suite.XCHACHA20POLY1305: Cipher(
        nonce_bytes=24,
        tag_bytes=16,
        encrypt=lib.crypto_aead_xchacha20poly1305_ietf_encrypt,
        decrypt=lib.crypto_aead_xchacha20poly1305_ietf_decrypt,
    ),
    Suite.AEGIS256: Cipher(
        nonce_bytes=32,
        tag_bytes=32,
        encrypt=lib.crypto_aead_aegis256_encrypt,
        decrypt=lib.crypto_aead_aegis256_decrypt,
    ),
}
NONCE_BYTES_MAX = max(cipher.nonce_bytes for cipher in CIPHERS.values())
TAG_BYTES_MAX = max(cipher.tag_bytes for cipher in CIPHERS.values())
