"""Names of chunks: a keyed hash of the plaintext."""

from blake3 import blake3

from obnam.crypto.keys import RepositoryKeys
from obnam.model.chunk import ChunkKind
from obnam.model.ids import CHUNK_ID_BLAKE3_KEYED, ChunkId

_ALGORITHM = bytes([CHUNK_ID_BLAKE3_KEYED])


class Namer:
    """Names chunks under one repository's keys. Safe to share between threads."""

    def __init__(self, keys: RepositoryKeys) -> None:
        self._keys = dict(keys.id_keys)

    def name(self, kind: ChunkKind, plaintext: bytes | bytearray | memoryview) -> ChunkId:
        """``0x01`` and the 32-byte BLAKE3 of ``plaintext`` under the id key of ``kind``.

        One thread; the interpreter's lock is released while it hashes.
        """
        return ChunkId(_ALGORITHM + blake3(plaintext, key=self._keys[kind]).digest())
