"""Lists of chunk ids as bodies, and the bits that answer them.

Ids lie end to end, 33 bytes each. See ``docs/protocol.md``.
"""

import struct
from collections.abc import Sequence

from obnam.model.ids import CHUNK_ID_BLAKE3_KEYED, CHUNK_ID_BYTES, ChunkId
from obnam.wire.limits import REFERENCE_IDS_MAX
from obnam.wire.messages import BadMessage

_COUNT = struct.Struct(">I")

REFERENCES_BODY_MAX = _COUNT.size + REFERENCE_IDS_MAX * CHUNK_ID_BYTES
"""Bytes of the largest body of ``POST /v1/sessions/ID/references``."""


def pack_ids(ids: Sequence[ChunkId]) -> bytes:
    """The ids end to end."""
    return b"".join(ids)


def unpack_ids(body: bytes, maximum: int) -> list[ChunkId]:
    """The ids of a body. Raises `BadMessage`: not whole ids, or more than ``maximum``."""
    if len(body) % CHUNK_ID_BYTES:
        raise BadMessage(f"the body is no sequence of ids of {CHUNK_ID_BYTES} bytes")
    count = len(body) // CHUNK_ID_BYTES
    if count > maximum:
        raise BadMessage(f"{count} ids are more than {maximum}")
    # All first bytes at once: a Python loop over 65,536 ids would take 30 ms.
    if body[::CHUNK_ID_BYTES] != bytes((CHUNK_ID_BLAKE3_KEYED,)) * count:
        raise BadMessage("not a chunk id")
    return [ChunkId(body[at : at + CHUNK_ID_BYTES]) for at in range(0, len(body), CHUNK_ID_BYTES)]


def pack_references(added: Sequence[ChunkId], removed: Sequence[ChunkId]) -> bytes:
    """How many are added (4 bytes, big-endian), the added ids, the removed ids."""
    return b"".join((_COUNT.pack(len(added)), *added, *removed))


def unpack_references(body: bytes) -> tuple[list[ChunkId], list[ChunkId]]:
    """Added and removed ids. Raises `BadMessage`."""
    if len(body) < _COUNT.size:
        raise BadMessage("the count of added ids is missing")
    (count,) = _COUNT.unpack_from(body)
    ids = unpack_ids(body[_COUNT.size :], REFERENCE_IDS_MAX)
    if count > len(ids):
        raise BadMessage(f"{count} added ids are announced, {len(ids)} ids follow")
    return ids[:count], ids[count:]


def pack_bits(flags: Sequence[bool]) -> bytes:
    """One bit each, the first in the most significant bit; the last byte is padded with 0."""
    if not flags:
        return b""
    size = (len(flags) + 7) // 8
    digits = "".join("1" if flag else "0" for flag in flags)
    return int(digits.ljust(size * 8, "0"), 2).to_bytes(size, "big")


def unpack_bits(body: bytes, count: int) -> list[bool]:
    """``count`` flags. Raises `BadMessage`: another number of bytes, or padding that is not 0."""
    if len(body) != (count + 7) // 8:
        raise BadMessage(f"{len(body)} bytes do not hold {count} bits")
    digits = f"{int.from_bytes(body, 'big'):0{len(body) * 8}b}" if body else ""
    if "1" in digits[count:]:
        raise BadMessage("the padding is not 0")
    return [digit == "1" for digit in digits[:count]]
