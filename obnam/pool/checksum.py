"""The checksum of a file's content: xxh3-128, with holes as the zeros that they read as."""

import xxhash

_ZEROS = bytes(1 << 20)


class ContentChecksum:
    """Fed the data of a file in order of position; fills the holes in between."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self._position = 0

    @property
    def position(self) -> int:
        """How far in the file it came."""
        return self._position

    def update(self, position: int, data: memoryview) -> None:
        """Take ``data``, which lies at ``position`` of the file."""
        self.skip_to(position)
        self._digest.update(data)
        self._position += len(data)

    def finish(self, size: int) -> bytes:
        """The checksum of the file, which is ``size`` bytes long."""
        self.skip_to(size)
        return self._digest.digest()

    def skip_to(self, position: int) -> None:
        """Take zeros up to there."""
        while self._position < position:
            step = min(len(_ZEROS), position - self._position)
            self._digest.update(_ZEROS if step == len(_ZEROS) else _ZEROS[:step])
            self._position += step
