"""The frames of a body on its way in: found, checked and hashed, piece by piece."""

from collections.abc import Sequence

import xxhash
from attrs import define, field

from obnam.model.ids import ChunkId
from obnam.wire.frames import BadFrame, Frame, FrameReader
from obnam.wire.limits import UPLOAD_BODY_MAX
from obnam_server.store.segments.format import HEADER_BYTES

UPLOAD_FRAMES_MAX = 65_536
"""Frames in one body, so that its trailer stays below 5 MiB and the index is not held up long.
The smallest sealed chunks are about 64 bytes; usual ones have 100 KiB and more."""


ReceivedFrame = tuple[ChunkId, int, int, bytes]
"""Chunk, where in the segment its sealed bytes begin, their length, their xxh3-128."""


@define(eq=False)
class ReceivedFrames:
    """What a body was made of. The last frame is in ``found`` once the body is `whole`."""

    found: list[ReceivedFrame] = field(factory=list)
    _told_end: int | None = None
    _reader: FrameReader = field(init=False, factory=FrameReader)
    _hash: xxhash.xxh3_128 = field(init=False, factory=xxhash.xxh3_128)
    _current: Frame | None = field(init=False, default=None)

    @property
    def body_end(self) -> int:
        """Where in the segment the body ends, as far as it came."""
        told = self._told_end
        return HEADER_BYTES + self._reader.position if told is None else told

    @property
    def body_bytes(self) -> int:
        """How long the body is, as far as it came."""
        return self.body_end - HEADER_BYTES

    @classmethod
    def told(cls, found: list[ReceivedFrame], body_end: int) -> "ReceivedFrames":
        """What somebody else has received, whole."""
        return cls(found, body_end)

    def feed(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next pieces of the body. `BadFrame`."""
        update = self._hash.update
        for piece in pieces:
            for found in self._reader.feed(piece):
                if isinstance(found, Frame):
                    self._begin(found)
                    update = self._hash.update
                else:
                    update(found)
        if self._reader.position > UPLOAD_BODY_MAX:
            raise BadFrame(f"the body is longer than {UPLOAD_BODY_MAX} bytes")

    def whole(self) -> None:
        """There is no more. `BadFrame`: there should be."""
        if self._current is None or not self._reader.at_end:
            raise BadFrame("the body ends within a frame" if self._current else "the body is empty")
        self._end()

    def _begin(self, frame: Frame) -> None:
        if not frame.length:
            raise BadFrame("a frame without sealed bytes")
        self._end()
        if len(self.found) == UPLOAD_FRAMES_MAX:
            raise BadFrame(f"the body has more than {UPLOAD_FRAMES_MAX} frames")
        self._current = frame
        self._hash = xxhash.xxh3_128()

    def _end(self) -> None:
        frame, self._current = self._current, None
        if frame is not None:
            place = HEADER_BYTES + frame.offset
            self.found.append((frame.chunk_id, place, frame.length, self._hash.digest()))
