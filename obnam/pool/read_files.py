"""Jobs of a backup's first step: read, cut and name. Paths come in, ids go out.

The plaintext stays in the slab, where the second step finds what must be sealed.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import xxhash

from obnam.chunking.bundle import PieceExtent, lay_out
from obnam.generation.rows import EntryRow, ExtentRow
from obnam.live.metadata import encode_attributes, read_attributes
from obnam.live.read import (
    Identity,
    advise,
    data_ranges,
    open_directory,
    open_with_status,
    read_into,
)
from obnam.model.chunk import ChunkKind
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId
from obnam.pool.checksum import ContentChecksum
from obnam.pool.worker import Tools

_FILE = Kind.FILE.value

READ_TRIES = 3
"""How often a file is read that changes while it is read; then it is kept as it was read."""


class FileToRead(NamedTuple):
    """A file of a `Group`, with the reason and sequence number that its row gets."""

    name: bytes
    reason: int
    since: int


class Group(NamedTuple):
    """Files of one directory, by its number, its path, and the identity that the scan saw."""

    directory: int
    path: bytes
    identity: Identity
    files: list[FileToRead]


class Piece(NamedTuple):
    """A chunk's plaintext in the slab: where it starts, how long it is, what it is called."""

    offset: int
    length: int
    id: ChunkId


class Trouble(NamedTuple):
    """A file that could not be read: number and path of its directory, name, errno and text."""

    directory: int
    path: bytes
    file: FileToRead
    code: int
    text: str


class Range(NamedTuple):
    """Data of a file in a slab: where in the file, where in the slab, how many bytes."""

    position: int
    offset: int
    length: int


class NamedFiles(NamedTuple):
    """Files as they lie in a slab.

    In ``rows`` and ``extents`` (for rows by index, of files in several extents) a chunk is still
    the index of a piece. ``grown`` did not fit any more, ``changing`` (paths) changed each time.
    """

    pieces: list[Piece]
    rows: list[EntryRow]
    extents: dict[int, list[ExtentRow]]
    troubles: list[Trouble]
    grown: list[tuple[Group, int]]
    changing: list[bytes]
    size_bytes: int


class NamedPart(NamedTuple):
    """A part of a file that is larger than a slab, from ``start`` up to ``stop``.

    ``ranges`` are the data in it. The last part brings the file's row (without a checksum).
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


def name_bundle(tools: Tools, slab_name: str, groups: Sequence[Group]) -> NamedFiles:
    """Read small files end to end, and cut the whole as one stream.

    Holes of files this small are read as the zeros that they are.
    """
    slab = tools.slab(slab_name)
    read = _ReadFiles(slab, sparse=False)
    read.all(groups)
    ends = tools.cutter.cut(slab[: read.end], final=True)
    pieces = _named(tools, slab, 0, ends)
    rows: list[EntryRow] = []
    extents: dict[int, list[ExtentRow]] = {}
    lengths = (row.size or 0 for row in read.rows)
    for index, (row, parts) in enumerate(zip(read.rows, lay_out(lengths, ends), strict=True)):
        if len(parts) == 1:
            rows.append(_in_one_piece(row, parts[0].piece, parts[0].offset))
            continue
        rows.append(row)
        if parts:
            extents[index] = _end_to_end(parts)
    return read.result(pieces, rows, extents)


def name_files(tools: Tools, slab_name: str, groups: Sequence[Group]) -> NamedFiles:
    """Read files that fit into the slab together, and cut each by itself."""
    slab = tools.slab(slab_name)
    read = _ReadFiles(slab, sparse=True)
    read.all(groups)
    pieces: list[Piece] = []
    rows: list[EntryRow] = []
    extents: dict[int, list[ExtentRow]] = {}
    for index, (row, ranges) in enumerate(zip(read.rows, read.ranges, strict=True)):
        if not ranges:
            rows.append(row)
            continue
        start, stop = ranges[0].offset, ranges[-1].offset + ranges[-1].length
        ends = tools.cutter.cut(slab[start:stop], final=True)
        own = _named(tools, slab, start, ends)
        parts = _lay_over(own, len(pieces), ranges)
        pieces += own
        if len(parts) == 1 and parts[0].length == row.size:
            rows.append(_in_one_piece(row, parts[0].chunk, parts[0].start))
        else:
            rows.append(row)
            extents[index] = parts
    return read.result(pieces, rows, extents)


def name_part(tools: Tools, slab_name: str, group: Group, start: int) -> NamedPart | Trouble:
    """Read a slab full of one large file from ``start`` on, and cut it as far as is certain."""
    slab = tools.slab(slab_name)
    file = group.files[0]
    try:
        directory = open_directory(group.path, group.identity)
        try:
            descriptor, status = open_with_status(file.name, directory)
        finally:
            os.close(directory)
        try:
            advise(descriptor, status.st_size)
            ranges, stop = _fill(descriptor, slab, status, start)
            filled = _filled(ranges)
            # Not filled: the file ends here, whatever its status said a moment ago.
            final = stop >= status.st_size or filled < len(slab)
            ends = tools.cutter.cut(slab[:filled], final=final)
            if not final:
                ranges, stop = _up_to(ranges, ends[-1])
            # It may have become shorter than what was read of it before.
            stop = max(stop, start)
            pieces = _named(tools, slab, 0, ends)
            size = status.st_size
            row = _row(group.directory, file, descriptor, status, size, None) if final else None
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _trouble(group, file, error)
    extents = _lay_over(pieces, 0, ranges)
    return NamedPart(pieces, extents, ranges, stop, row, _identity(status), _identity(after))


class _ReadFiles:
    """Reads files into a slab, one behind the other, until there is no room."""

    def __init__(self, slab: memoryview, *, sparse: bool) -> None:
        self._slab = slab
        self._sparse = sparse
        self.end = 0
        self.rows: list[EntryRow] = []
        self.ranges: list[list[Range]] = []
        self._troubles: list[Trouble] = []
        self._grown: list[tuple[Group, int]] = []
        self._changing: list[bytes] = []

    def all(self, groups: Iterable[Group]) -> None:
        """Read them all; what goes wrong with one is noted, and the next is read."""
        for group in groups:
            try:
                directory = open_directory(group.path, group.identity)
            except OSError as error:
                self._troubles.extend(_trouble(group, file, error) for file in group.files)
                continue
            try:
                for file in group.files:
                    try:
                        self._one(group, file, directory)
                    except OSError as error:
                        self._troubles.append(_trouble(group, file, error))
            finally:
                os.close(directory)

    def result(
        self, pieces: list[Piece], rows: list[EntryRow], extents: dict[int, list[ExtentRow]]
    ) -> NamedFiles:
        """What the job answers."""
        return NamedFiles(
            pieces, rows, extents, self._troubles, self._grown, self._changing, self.end
        )

    def _one(self, group: Group, file: FileToRead, directory: int) -> None:
        descriptor, status = open_with_status(file.name, directory)
        try:
            for _ in range(READ_TRIES):
                room = self._slab[self.end :]
                if status.st_size > len(room):
                    alone = group._replace(files=[file])
                    self._grown.append((alone, status.st_size))
                    return
                ranges, size = self._read(descriptor, room, status)
                before, status = status, os.fstat(descriptor)
                if size == before.st_size and _same(before, status):
                    break
            else:
                self._changing.append(group.path + b"/" + file.name)
            checksum = _checksum(room, ranges, size)
            self.rows.append(_row(group.directory, file, descriptor, before, size, checksum))
            if self._sparse:
                self.ranges.append([r._replace(offset=r.offset + self.end) for r in ranges])
            self.end += _filled(ranges)
        finally:
            os.close(descriptor)

    def _read(
        self, descriptor: int, room: memoryview, status: os.stat_result
    ) -> tuple[list[Range], int]:
        if self._sparse:
            return _fill(descriptor, room, status, 0)
        size = read_into(descriptor, room[: status.st_size], 0)
        return ([Range(0, 0, size)] if size else []), size


def _fill(
    descriptor: int, room: memoryview, status: os.stat_result, start: int
) -> tuple[list[Range], int]:
    """Read the data from ``start`` on until there is no room; how far that reached in the file.

    Holes between data are skipped; a file that became shorter ends early.
    """
    ranges: list[Range] = []
    filled = 0
    for position, length in data_ranges(descriptor, status.st_size, start):
        take = min(length, len(room) - filled)
        got = read_into(descriptor, room[filled : filled + take], position)
        if got:
            ranges.append(Range(position, filled, got))
            filled += got
        if got < length:
            return ranges, position + got
    return ranges, status.st_size


def _up_to(ranges: Sequence[Range], filled: int) -> tuple[list[Range], int]:
    """The ranges that lie in the first ``filled`` bytes, and where they end in the file."""
    kept: list[Range] = []
    stop = 0
    for piece in ranges:
        if piece.offset >= filled:
            break
        length = min(piece.length, filled - piece.offset)
        kept.append(piece._replace(length=length))
        stop = piece.position + length
    return kept, stop


def _filled(ranges: Sequence[Range]) -> int:
    return ranges[-1].offset + ranges[-1].length if ranges else 0


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _checksum(room: memoryview, ranges: Sequence[Range], size: int) -> bytes:
    """xxh3-128 of a file's content in memory, holes as zeros."""
    if len(ranges) == 1 and ranges[0].length == size:
        return xxhash.xxh3_128_digest(room[:size])
    content = ContentChecksum()
    for piece in ranges:
        content.update(piece.position, room[piece.offset : piece.offset + piece.length])
    return content.finish(size)


def _named(tools: Tools, slab: memoryview, start: int, ends: Sequence[int]) -> list[Piece]:
    """Name what lies between the cuts; ``ends`` count from ``start`` in the slab."""
    pieces = []
    at = start
    for end in ends:
        stop = start + end
        chunk_id = tools.namer.name(ChunkKind.DATA, slab[at:stop])
        pieces.append(Piece(at, stop - at, chunk_id))
        at = stop
    return pieces


def _lay_over(pieces: Sequence[Piece], first: int, ranges: Sequence[Range]) -> list[ExtentRow]:
    """Where data ranges lie in pieces: both cover the same bytes of the slab, end to end."""
    extents = []
    nth = 0
    for position, offset, length in ranges:
        while length:
            piece = pieces[nth]
            start = offset - piece.offset
            here = min(length, piece.length - start)
            extents.append(ExtentRow(position, first + nth, start, here))
            position, offset, length = position + here, offset + here, length - here
            if start + here == piece.length:
                nth += 1
    return extents


def _end_to_end(parts: Sequence[PieceExtent]) -> list[ExtentRow]:
    extents = []
    position = 0
    for piece, start, length in parts:
        extents.append(ExtentRow(position, piece, start, length))
        position += length
    return extents


def _in_one_piece(row: EntryRow, piece: int, start: int) -> EntryRow:
    return EntryRow._make((*row[:14], piece, start, *row[16:]))


def _row(
    directory: int,
    file: FileToRead,
    descriptor: int,
    status: os.stat_result,
    size: int,
    checksum: bytes | None,
) -> EntryRow:
    attributes = read_attributes(descriptor)
    return EntryRow(
        directory,
        file.name,
        _FILE,
        file.reason,
        file.since,
        status.st_mode & 0o7777,
        status.st_uid,
        status.st_gid,
        size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev if status.st_nlink > 1 else None,
        checksum,
        None,
        None,
        None,
        encode_attributes(attributes) if attributes else None,
        None,
    )


def _trouble(group: Group, file: FileToRead, error: OSError) -> Trouble:
    return Trouble(
        group.directory, group.path, file, error.errno or 0, error.strerror or str(error)
    )
