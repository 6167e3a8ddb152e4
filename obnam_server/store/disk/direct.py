"""Appends to a file past the page cache.

What clients upload is written once and seldom read soon. In the page cache it costs a copy into
memory that nothing used lately, a fifth of what an upload costs the server, and pushes out what
others have there. So it is gathered in a small buffer, whose pages go to the disk as they are
(``O_DIRECT``, open(2)). What does not fill a page at either end goes the usual way.
"""

import mmap
from collections.abc import Sequence
from threading import Lock

from attrs import define, field

from obnam_server.store.disk.files import IFiles

BUFFER_BYTES = 1024 * 1024
"""What is written at once. Half of it cost a disk of ours more time."""

BUFFERS_MAX = 16
"""Files that are written so at the same time; others go the usual way."""

PAGE_BYTES = 4096
"""Positions in file and memory, and lengths, are multiples of this. No usual disk wants more, and
one that does refuses: see `IFiles`."""

ENOUGH_BYTES = 64 * 1024
"""Less than this, at a file's end, goes the usual way: a file of a few pages is not worth it."""


class Buffers:
    """A few buffers that begin with a page of memory. Any thread.

    They are used again: new memory costs as much as what is saved.
    """

    def __init__(self, most: int = BUFFERS_MAX) -> None:
        self._unmade = most
        self._free: list[memoryview] = []
        self._lock = Lock()

    def take(self) -> memoryview | None:
        """One, if there is one."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if not self._unmade:
                return None
            self._unmade -= 1
        return memoryview(mmap.mmap(-1, BUFFER_BYTES))

    def give_back(self, buffer: memoryview) -> None:
        """It is written, or nobody wants it any more."""
        with self._lock:
            self._free.append(buffer)


BUFFERS = Buffers()
"""Those of this process."""


@define(eq=False)
class DirectAppender:
    """What is appended to a file that has ``_position`` bytes. `flush` before it is made durable.

    ``descriptor`` is that of the file, which stays the caller's to close.

    After an error the file is as if only some of it had been appended. One thread at a time.
    """

    _files: IFiles
    descriptor: int
    _position: int = 0
    _buffers: Buffers = BUFFERS
    _buffer: memoryview | None = field(init=False, default=None)
    _start: int = field(init=False, default=0)
    _end: int = field(init=False, default=0)

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Take ``pieces``, and write what fills the buffer. They may be changed afterwards."""
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = self._buffers.take()
            # In the buffer, a byte lies in its page as it does in the file.
            self._start = self._end = self._position % PAGE_BYTES
        if buffer is None:
            self._files.append(self.descriptor, pieces)
            self._position += sum(map(len, pieces))
            return
        for piece in pieces:
            at, end = 0, len(piece)
            with memoryview(piece) as view:
                while at < end:
                    at += self._gather(buffer, view[at:])

    def flush(self) -> None:
        """Write what is left."""
        buffer = self._buffer
        if buffer is not None and self._start < self._end:
            whole = self._end // PAGE_BYTES * PAGE_BYTES
            self._write(buffer, whole if whole >= ENOUGH_BYTES else 0)
        self.drop()

    def drop(self) -> None:
        """What is not written yet never will be."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._buffers.give_back(buffer)

    def _gather(self, buffer: memoryview, piece: memoryview) -> int:
        taken = min(len(piece), BUFFER_BYTES - self._end)
        buffer[self._end : self._end + taken] = piece[:taken]
        self._end += taken
        if self._end == BUFFER_BYTES:
            self._write(buffer, BUFFER_BYTES)
        return taken

    def _write(self, buffer: memoryview, whole: int) -> None:
        """Write what lies in ``buffer``, its pages up to ``whole`` past the page cache."""
        start, end = self._start, self._end
        self._position += end - start
        self._start = self._end = 0
        first = PAGE_BYTES if start else 0
        if whole <= first:
            self._files.append(self.descriptor, [buffer[start:end]])
            return
        if first:
            self._files.append(self.descriptor, [buffer[start:first]])
        self._files.append_direct(self.descriptor, buffer[first:whole])
        if whole < end:
            self._files.append(self.descriptor, [buffer[whole:end]])
