"""How a file would be cut, for who wants to see what deduplication can find. Blocks."""

import errno
import mmap
import os
import stat
from typing import Any

from attrs import frozen

from obnam.backup.batches import BUNDLE_FILE_MAX
from obnam.chunking.cutter import MAXIMUM, Cutter
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.names import Namer
from obnam.model.chunk import ChunkKind

WINDOW_BYTES = 16 * MAXIMUM
"""So much of a file is cut at once."""


@frozen
class Cuts:
    """The pieces of a file: offset and length in bytes, chunk id. ``bundled``: see `cuts_of`."""

    size_bytes: int
    bundled: bool
    pieces: tuple[tuple[int, int, str], ...]

    def to_json(self) -> dict[str, Any]:
        """For people and programs alike."""
        return {
            "size": self.size_bytes,
            "bundled": self.bundled,
            "chunks": [
                {"offset": offset, "length": length, "id": chunk_id}
                for offset, length, chunk_id in self.pieces
            ],
        }


def cuts_of(path: str, keys: RepositoryKeys) -> Cuts:
    """Cut the file as a backup would. Raises ``OSError``.

    A file that a backup puts into a bundle is cut together with its neighbours, so that its
    pieces here are only those it would have if it were alone.
    """
    cutter, namer = Cutter(keys.cutter_seed), Namer(keys)
    pieces = []
    # Without waiting: a FIFO would have us wait for whoever writes into it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        size = file.seek(0, 2)
        if not size:
            return Cuts(0, True, ())
        # Not closed here: when Ctrl-C comes in the midst of it, somebody still looks at a piece.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        start, size = 0, len(content)
        while start < size:
            window = content[start : start + WINDOW_BYTES]
            ends = cutter.cut(window, final=start + len(window) == size)
            at = 0
            for end in ends:
                name = namer.name(ChunkKind.DATA, window[at:end])
                pieces.append((start + at, end - at, name.hex()))
                at = end
            start += at
    return Cuts(size, size < BUNDLE_FILE_MAX, tuple(pieces))
