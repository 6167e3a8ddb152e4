"""Chunks: what kinds there are, and how a set of them is summed up."""

from collections.abc import Iterable
from enum import IntEnum

from attrs import frozen

from obnam.model.ids import CHUNK_ID_BYTES, ChunkId


class ChunkKind(IntEnum):
    """What a sealed chunk holds. Part of its associated data, so none passes for another."""

    DATA = 1
    GENERATION_DATABASE = 2
    MANIFEST = 3
    KEYRING_SLOT = 4


@frozen
class SetSum:
    """Count and XOR of a set of chunk ids: equal sums, equal sets (but for crafted ones).

    Both ends keep it while ids come and go, and compare it at commit, so that a
    misunderstanding about a generation's chunks is found before it is written down.
    """

    count: int = 0
    xor: int = 0

    def add(self, ids: Iterable[ChunkId]) -> "SetSum":
        """The sum with ``ids``, which were not in the set before."""
        return self._fold(ids, 1)

    def remove(self, ids: Iterable[ChunkId]) -> "SetSum":
        """The sum without ``ids``, all of which were in the set."""
        return self._fold(ids, -1)

    def _fold(self, ids: Iterable[ChunkId], step: int) -> "SetSum":
        count, xor = self.count, self.xor
        for chunk_id in ids:
            count += step
            xor ^= int.from_bytes(chunk_id, "big")
        return SetSum(count, xor)

    @property
    def xor_hex(self) -> str:
        """The XOR as 66 hexadecimal digits."""
        return self.xor.to_bytes(CHUNK_ID_BYTES, "big").hex()
