"""What of a body has come in and waits for a thread that writes it.

Most of it is put into buffers by the connection itself (`obnam.transport.places`), so that nothing
of it is copied. They are used again: memory that was not used before costs more than the copy. They
belong to one body, and only as long as it comes in.
"""

from attrs import define, field

SPARE_MAX = 2
"""Buffers kept for what comes next: as many as are full when a slow disk has paused the client."""


@define
class Waiting:
    """The bytes that wait, in order. ``size_bytes``: how many."""

    size_bytes: int = 0
    _pieces: list[bytes | memoryview] = field(factory=list)
    _buffer: memoryview | None = None
    _taken_to: int = 0
    _filled_to: int = 0
    _full: list[memoryview] = field(factory=list)
    _spare: list[memoryview] = field(factory=list)

    def add(self, piece: bytes) -> None:
        """A piece that lies in memory of its own."""
        self._gather()
        self._pieces.append(piece)
        self.size_bytes += len(piece)

    def room(self, size_bytes: int, most_bytes: int) -> memoryview:
        """Room for the next bytes, ``size_bytes`` at most. No buffer has more than ``most_bytes``.

        It is the same memory until `filled` is told how many were put there.
        """
        if self._buffer is None:
            self._buffer = self._new_buffer(min(size_bytes, most_bytes), most_bytes)
        return self._buffer[self._filled_to : self._filled_to + size_bytes]

    def filled(self, size_bytes: int) -> None:
        """So many bytes lie in the room."""
        self._filled_to += size_bytes
        self.size_bytes += size_bytes
        if self._buffer is not None and self._filled_to == len(self._buffer):
            self._end_buffer()

    def take(self) -> tuple[list[bytes | memoryview], list[memoryview]]:
        """All that waits, and the buffers that it lies in: `give_back` them when it is written."""
        if self._filled_to:
            self._end_buffer()
        taken = self._pieces, self._full
        self._pieces, self._full, self.size_bytes = [], [], 0
        return taken

    def give_back(self, buffers: list[memoryview]) -> None:
        """Nothing refers to them any more: some are kept for what comes next."""
        self._spare = [*buffers, *self._spare][:SPARE_MAX]

    def clear(self) -> None:
        """Nothing of it is wanted any more, and nothing more comes."""
        self._pieces.clear()
        self._full.clear()
        self._spare.clear()
        self._buffer = None
        self._taken_to = self._filled_to = self.size_bytes = 0

    def _new_buffer(self, size_bytes: int, most_bytes: int) -> memoryview:
        """A spare one, unless too many bodies share the memory by now for one of its size."""
        while self._spare:
            spare = self._spare.pop()
            if len(spare) <= most_bytes:
                return spare
        return memoryview(bytearray(size_bytes))

    def _gather(self) -> None:
        """What lies in the buffer is a piece now: one, however many bytes came at once."""
        if self._buffer is not None and self._taken_to < self._filled_to:
            self._pieces.append(self._buffer[self._taken_to : self._filled_to])
            self._taken_to = self._filled_to

    def _end_buffer(self) -> None:
        self._gather()
        if self._buffer is not None:
            self._full.append(self._buffer)
        self._buffer, self._taken_to, self._filled_to = None, 0, 0
