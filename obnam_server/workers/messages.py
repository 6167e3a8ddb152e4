"""What owner and workers tell each other about bytes that neither sends the other.

Two processes of one server, of one version: nothing here is kept, or has to be understood later.
"""

import struct
from collections.abc import Sequence

from obnam.model.ids import CHUNK_ID_BYTES, ChunkId
from obnam_server.store.seams.values import Location, SegmentNumber
from obnam_server.store.segments.fetch import Wanted
from obnam_server.store.segments.received import UPLOAD_FRAMES_MAX, ReceivedFrames

UPLOADS = b"/worker/uploads"
FETCH = b"/worker/fetch"
MOVED = b"/worker/moved"
DONE = b"/worker/done"

BODY_LENGTH = b"Obnam-Body-Length"
"""Header: bytes of a body that the worker receives, in place of the owner."""

CLOSING = b"Obnam-Closing"
"""Header: the client's connection is to be closed after this answer."""

REPOSITORY = b"Obnam-Repository"
"""Header: the name of the repository whose segments are to be read."""

_BODY_END = struct.Struct(">Q")
_FRAME = struct.Struct(f">{CHUNK_ID_BYTES}sQI16s")
_WANTED = struct.Struct(f">{CHUNK_ID_BYTES}sQQI")

RECEIVED_BODY_MAX = _BODY_END.size + UPLOAD_FRAMES_MAX * _FRAME.size
"""Bytes of the longest list of frames."""


class BadList(ValueError):
    """Bytes that are no such list: our own mistake."""


def pack_received(received: ReceivedFrames) -> bytes:
    """The frames that were written, and where in the segment they end."""
    frames = [_FRAME.pack(*frame) for frame in received.found]
    return b"".join([_BODY_END.pack(received.body_end), *frames])


def unpack_received(body: bytes) -> ReceivedFrames:
    """The same again. `BadList`."""
    if len(body) <= _BODY_END.size or (len(body) - _BODY_END.size) % _FRAME.size:
        raise BadList("not a list of frames")
    (body_end,) = _BODY_END.unpack_from(body)
    frames = _FRAME.iter_unpack(memoryview(body)[_BODY_END.size :])
    return ReceivedFrames.told([(ChunkId(chunk), *rest) for chunk, *rest in frames], body_end)


def pack_wanted(wanted: Sequence[Wanted]) -> bytes:
    """Chunks and their places; one that is absent is 0 bytes long."""
    return b"".join(
        _WANTED.pack(chunk, place.segment, place.offset, place.length)
        if place
        else _WANTED.pack(chunk, 0, 0, 0)
        for chunk, place in wanted
    )


def unpack_wanted(body: bytes) -> list[Wanted]:
    """The same again. `BadList`."""
    if len(body) % _WANTED.size:
        raise BadList("not a list of places")
    return [
        (ChunkId(chunk), Location(SegmentNumber(segment), offset, length) if length else None)
        for chunk, segment, offset, length in _WANTED.iter_unpack(body)
    ]
