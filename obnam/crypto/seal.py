"""Sealing and opening chunks: sealed chunk, format 1 (``docs/format/chunk.md``).

A sealed chunk is bound to its kind and its chunk id, and opening also checks that the plaintext
has that id. So a server can neither swap, replay nor craft one. There is one failure,
`SealBroken`, and it does not say which check failed.
"""

import struct
from functools import cache
from pathlib import Path

from obnam.crypto import envelope
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.randomness import random_bytes
from obnam.crypto.sodium import (
    CIPHERS,
    NONCE_BYTES_MAX,
    TAG_BYTES_MAX,
    Buffer,
    NotAuthentic,
    Suite,
)
from obnam.errors import SealBroken
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId

__all__ = ["Opener", "Sealer", "Suite", "best_suite", "sealed_length_max", "suite_for"]

FORMAT = 1
KEY_EPOCH = 0
"""Keys cannot be rotated yet; the field is there so that they can be one day."""

_HEADER = struct.Struct("<BBH")
_DOMAIN = b"obnam chunk 1"


def suite_for(cpuinfo: str) -> Suite:
    """The faster suite on a machine with this ``/proc/cpuinfo``.

    AEGIS-256 where the processor has AES instructions (``aes`` among the ``flags`` of x86 or the
    ``Features`` of ARM); without them XChaCha20-Poly1305 is faster.
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return Suite.AEGIS256 if "aes" in value.split() else Suite.XCHACHA20POLY1305
    return Suite.XCHACHA20POLY1305


@cache
def best_suite() -> Suite:
    """The faster suite on this machine; where that cannot be told, XChaCha20-Poly1305."""
    try:
        return suite_for(Path("/proc/cpuinfo").read_text("ascii", "replace"))
    except OSError:
        return Suite.XCHACHA20POLY1305


def sealed_length_max(plaintext_length: int) -> int:
    """Upper bound of the sealed chunk of so long a plaintext, in bytes, for every suite."""
    overhead = _HEADER.size + NONCE_BYTES_MAX + TAG_BYTES_MAX
    return overhead + envelope.length_max(plaintext_length)


def _associated(header: bytes, kind: ChunkKind, chunk_id: ChunkId) -> bytes:
    return b"%b%b%c%b" % (_DOMAIN, header, kind, chunk_id)


class Sealer:
    """Compresses and encrypts chunks under one repository's keys. Safe between threads."""

    def __init__(
        self, keys: RepositoryKeys, suite: Suite, compression: envelope.Compression
    ) -> None:
        self._keys = keys
        self._cipher = CIPHERS[suite]
        self._header = _HEADER.pack(FORMAT, suite, KEY_EPOCH)
        self._packer = envelope.Packer(compression)

    def seal(self, kind: ChunkKind, chunk_id: ChunkId, plaintext: Buffer) -> bytes:
        """The sealed chunk of ``plaintext``, whose name is ``chunk_id``."""
        area = memoryview(bytearray(sealed_length_max(len(plaintext))))
        return bytes(area[: self.seal_into(kind, chunk_id, plaintext, area)])

    def seal_into(
        self, kind: ChunkKind, chunk_id: ChunkId, plaintext: Buffer, into: memoryview
    ) -> int:
        """The same, written at the start of ``into``; its length in bytes.

        ``into`` has `sealed_length_max` bytes at least, else ``ValueError``; those behind the
        sealed chunk may be overwritten too. It does not overlap ``plaintext``.
        """
        nonce = random_bytes(self._cipher.nonce_bytes)
        return self._seal_from_parts(kind, chunk_id, plaintext, into, nonce)

    def _seal_from_parts(
        self,
        kind: ChunkKind,
        chunk_id: ChunkId,
        plaintext: Buffer,
        into: memoryview,
        nonce: bytes,
    ) -> int:
        if len(into) < sealed_length_max(len(plaintext)):
            raise ValueError("no room for the sealed chunk")
        start = _HEADER.size + len(nonce)
        into[: _HEADER.size] = self._header
        into[_HEADER.size : start] = nonce
        area = into[start:]
        length = self._packer.pack_into(plaintext, area)
        associated = _associated(self._header, kind, chunk_id)
        key = self._keys.sealing_key(kind)
        return start + self._cipher.encrypt_in_place(area, length, associated, nonce, key)


class Opener:
    """Opens sealed chunks of one repository. Safe between threads."""

    def __init__(self, keys: RepositoryKeys) -> None:
        self._keys = keys
        self._namer = Namer(keys)
        self._unpacker = envelope.Unpacker()

    def open(self, kind: ChunkKind, chunk_id: ChunkId, sealed: Buffer) -> bytes:
        """The plaintext named ``chunk_id``. Raises `SealBroken`, whatever is wrong."""
        return bytes(self.open_in_place(kind, chunk_id, memoryview(bytearray(sealed))))

    def open_in_place(
        self, kind: ChunkKind, chunk_id: ChunkId, sealed: memoryview
    ) -> bytes | memoryview:
        """The same without a copy: ``sealed`` is decrypted where it lies, and is gone then.

        A plaintext that was stored as it is stays there, and is good as long as that memory is.
        """
        what = f"chunk {chunk_id.hex()}"
        try:
            plaintext = self._opened(kind, chunk_id, sealed)
        except (NotAuthentic, envelope.BadEnvelope) as error:
            raise SealBroken(what) from error
        # hmac.compare_digest is not needed: the server learns nothing from our timing
        if self._namer.name(kind, plaintext) != chunk_id:
            raise SealBroken(what)
        return plaintext

    def _opened(self, kind: ChunkKind, chunk_id: ChunkId, sealed: memoryview) -> bytes | memoryview:
        if len(sealed) < _HEADER.size:
            raise NotAuthentic
        header = bytes(sealed[: _HEADER.size])
        version, suite, epoch = _HEADER.unpack(header)
        if version != FORMAT or epoch != KEY_EPOCH or suite not in CIPHERS:
            raise NotAuthentic
        cipher = CIPHERS[suite]
        start = _HEADER.size + cipher.nonce_bytes
        area = sealed[start:]
        length = cipher.decrypt_into(
            area,
            area,
            _associated(header, kind, chunk_id),
            bytes(sealed[_HEADER.size : start]),
            self._keys.sealing_key(kind),
        )
        return self._unpacker.unpack(area[:length])
