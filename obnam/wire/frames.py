"""Frames: how sealed chunks lie one after another in a body.

A frame is the chunk id (33 bytes), the length of the sealed bytes (4 bytes, big-endian), and
the sealed bytes. Nothing stands between frames, before the first, or after the last.
A length of 0 in an answer says that the chunk is absent.

See ``docs/format/frames.md``.
"""

import struct
from collections.abc import Iterator

from attrs import define, field, frozen

from obnam.model.ids import CHUNK_ID_BYTES, ChunkId, parse_chunk_id
from obnam.wire.limits import SEALED_CHUNK_MAX

FRAME_HEADER_BYTES = CHUNK_ID_BYTES + 4
_HEADER = struct.Struct(f">{CHUNK_ID_BYTES}sI")


class BadFrame(ValueError):
    """Bytes that are no sequence of frames: the sender's mistake."""


def pack_header(chunk_id: ChunkId, length: int) -> bytes:
    """The 37 bytes before ``length`` sealed bytes."""
    return _HEADER.pack(chunk_id, length)


def write_header(
    buffer: bytearray | memoryview, offset: int, chunk_id: ChunkId, length: int
) -> int:
    """Write a header into ``buffer`` and return the offset behind it."""
    _HEADER.pack_into(buffer, offset, chunk_id, length)
    return offset + FRAME_HEADER_BYTES


@frozen
class Frame:
    """Where one frame's sealed bytes lie in a body; ``length`` 0: absent."""

    chunk_id: ChunkId
    offset: int
    length: int


def unpack_header(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[ChunkId, int]:
    """Chunk id and length of the sealed bytes. Raises `BadFrame`."""
    if len(data) - offset < FRAME_HEADER_BYTES:
        raise BadFrame("the body ends within a frame's header")
    raw, length = _HEADER.unpack_from(data, offset)
    if length > SEALED_CHUNK_MAX:
        raise BadFrame(f"a sealed chunk of {length} bytes is larger than {SEALED_CHUNK_MAX}")
    try:
        return parse_chunk_id(raw), length
    except ValueError as error:
        raise BadFrame(str(error)) from error


def split(body: memoryview) -> Iterator[Frame]:
    """The frames of a whole body, in order. Raises `BadFrame` where it is cut short."""
    offset, end = 0, len(body)
    while offset < end:
        chunk_id, length = unpack_header(body, offset)
        offset += FRAME_HEADER_BYTES
        if end - offset < length:
            raise BadFrame("the body ends within a sealed chunk")
        yield Frame(chunk_id, offset, length)
        offset += length


@define
class FrameReader:
    """The same for a body that arrives in pieces: fed any pieces, it says where frames lie.

    ``feed`` yields ``Frame`` values (a header is complete; offsets count from the start of the
    body) and, for sealed bytes, ``memoryview`` pieces of what was fed. ``at_end`` is true
    between frames, when the body may stop.
    """

    position: int = 0
    _header: bytearray = field(factory=bytearray)
    _left: int = 0

    @property
    def at_end(self) -> bool:
        """Whether the body may end here."""
        return not self._left and not self._header

    def feed(self, data: bytes | memoryview) -> Iterator[Frame | memoryview]:
        """Take the next piece of the body. Raises `BadFrame`."""
        view = memoryview(data)
        at, end = 0, len(view)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                piece = view[at : at + step]
                self._left -= step
                self.position += step
                at += step
                yield piece
                continue
            step = min(FRAME_HEADER_BYTES - len(self._header), end - at)
            self._header += view[at : at + step]
            self.position += step
            at += step
            if len(self._header) == FRAME_HEADER_BYTES:
                chunk_id, length = unpack_header(self._header)
                self._header.clear()
                self._left = length
                yield Frame(chunk_id, self.position, length)
