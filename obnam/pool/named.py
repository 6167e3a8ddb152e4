"""What the jobs of a backup's first step are given, and what they answer. All of it is pickled."""

from typing import Final, NamedTuple

from obnam.generation.rows import EntryRow, ExtentRow, WholeFile
from obnam.live.read import Identity
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId

_FILE = Kind.FILE.value


class Group(NamedTuple):
    """Files of one directory, by its number, its path, and the identity that the scan saw.

    ``reason`` and ``since`` are what the rows of all of them get.
    """

    directory: int
    path: bytes
    identity: Identity
    reason: int
    since: int
    names: list[bytes]


class Piece(NamedTuple):
    """A chunk's plaintext in the slab: where it starts, how long it is, what it is called."""

    offset: int
    length: int
    id: ChunkId


class Trouble(NamedTuple):
    """A file that could not be read: number and path of its directory, name, errno and text."""

    directory: int
    path: bytes
    name: bytes
    code: int
    text: str


class Range(NamedTuple):
    """Data of a file in a slab: where in the file, where in the slab, how many bytes."""

    position: int
    offset: int
    length: int


class NamedFiles(NamedTuple):
    """Files as they lie in a slab.

    ``whole`` are the rows of most files, ``rows`` of the others. There, and in ``extents`` (for
    ``rows`` by index, of files in several extents) a chunk is still the index of a piece.
    ``grown`` did not fit any more, ``changing`` (paths) changed each time.
    """

    pieces: list[Piece]
    whole: list[WholeFile]
    rows: list[EntryRow]
    extents: dict[int, list[ExtentRow]]
    troubles: list[Trouble]
    grown: list[tuple[Group, int]]
    changing: list[bytes]
    size_bytes: int


class NamedPart(NamedTuple):
    """A part of a file that is larger than a slab, from ``start`` up to ``stop``.

    ``ranges`` are the data in it. The last part brings the file's row (with an empty checksum).
    ``before`` and ``after`` it was read: size, mtime_ns, ctime_ns and inode; they are the same
    in all parts unless the file changes.
    """

    pieces: list[Piece]
    extents: list[ExtentRow]
    ranges: list[Range]
    stop: int
    row: EntryRow | None
    before: tuple[int, ...]
    after: tuple[int, ...]


Head = tuple[int, bytes, int, int, int, int, int, int, int, int, int, bytes]
"""What is known of a file that was read: the first columns of its row, as of a `WholeFile`.

Directory, name, reason, since, mode, uid, gid, size, mtime_ns, ctime_ns, inode and checksum.
"""

SIZE: Final = 7
"""Where the size stands in a `Head`."""

Extra = tuple[int | None, bytes | None]
"""What few files have: the device of one with several links, and encoded attributes."""


def file_row(head: Head, extra: Extra | None) -> EntryRow:
    """The row of a file, without content."""
    device, attributes = extra or (None, None)
    return EntryRow._make(
        (
            *head[:2],
            _FILE,
            *head[2:11],
            device,
            head[11],
            *(None, None, None),
            attributes,
            None,
        )
    )


class Rows:
    """The rows of files, as `NamedFiles` has them."""

    def __init__(self) -> None:
        self.whole: list[WholeFile] = []
        self.rows: list[EntryRow] = []
        self.extents: dict[int, list[ExtentRow]] = {}

    def add_whole(self, head: Head, extra: Extra | None, piece: int, start: int) -> None:
        """Add a file that lies in one piece."""
        if extra is None:
            self.whole.append((*head, piece, start))
        else:
            self.rows.append(file_row(head, extra)._replace(chunk=piece, start=start))

    def add(self, head: Head, extra: Extra | None, extents: list[ExtentRow]) -> None:
        """Add a file that lies in several pieces, or has no content."""
        if extents:
            self.extents[len(self.rows)] = extents
        self.rows.append(file_row(head, extra))
