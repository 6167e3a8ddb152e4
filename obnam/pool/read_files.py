"""Jobs of a backup's first step: read, cut and name. Paths come in, ids go out.

The plaintext stays in the slab, where the second step finds what must be sealed.
"""

import os
from collections.abc import Iterable, Sequence

import xxhash

from obnam.chunking.bundle import PieceExtent, lay_out
from obnam.generation.rows import ExtentRow
from obnam.live.metadata import encode_attributes, read_attributes
from obnam.live.read import (
    advise,
    data_ranges,
    open_directory,
    open_with_status,
    read_into,
)
from obnam.model.chunk import ChunkKind
from obnam.pool.checksum import ContentChecksum
from obnam.pool.named import (
    SIZE,
    Found,
    Group,
    NamedFiles,
    NamedPart,
    Piece,
    Range,
    Rows,
    Trouble,
)
from obnam.pool.worker import Tools

READ_TRIES = 3
"""How often a file is read that changes while it is read; then it is kept as it was read."""


def name_bundle(tools: Tools, slab_name: str, groups: Sequence[Group]) -> NamedFiles:
    """Read small files end to end, and cut the whole as one stream.

    Holes of files this small are read as the zeros that they are.
    """
    slab = tools.slab(slab_name)
    read = _ReadFiles(slab, sparse=False)
    read.all(groups)
    ends = tools.cutter.cut(slab[: read.end], final=True)
    pieces = _named(tools, slab, 0, ends)
    rows = Rows()
    for found, parts in zip(read.found, lay_out(read.sizes(), ends), strict=True):
        if len(parts) == 1:
            piece, start, _ = parts[0]
            rows.add_whole(found, piece, start)
        else:
            rows.add(found, _end_to_end(parts))
    return read.result(pieces, rows)


def name_files(tools: Tools, slab_name: str, groups: Sequence[Group]) -> NamedFiles:
    """Read files that fit into the slab together, and cut each by itself."""
    slab = tools.slab(slab_name)
    read = _ReadFiles(slab, sparse=True)
    read.all(groups)
    pieces: list[Piece] = []
    rows = Rows()
    for found, ranges in zip(read.found, read.ranges, strict=True):
        if not ranges:
            rows.add(found, [])
            continue
        start, stop = ranges[0].offset, ranges[-1].offset + ranges[-1].length
        ends = tools.cutter.cut(slab[start:stop], final=True)
        own = _named(tools, slab, start, ends)
        parts = _lay_over(own, len(pieces), ranges)
        pieces += own
        if len(parts) == 1 and parts[0].length == found.head[SIZE]:
            rows.add_whole(found, parts[0].chunk, parts[0].start)
        else:
            rows.add(found, parts)
    return read.result(pieces, rows)


def name_part(tools: Tools, slab_name: str, group: Group, start: int) -> NamedPart | Trouble:
    """Read a slab full of one large file from ``start`` on, and cut it as far as is certain."""
    slab = tools.slab(slab_name)
    name = group.names[0]
    try:
        directory = open_directory(group.path, group.identity)
        try:
            descriptor, status = open_with_status(name, directory)
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
            row = None
            if final:
                row = _found(group, name, descriptor, status, status.st_size, None).row()
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _trouble(group, name, error)
    extents = _lay_over(pieces, 0, ranges)
    return NamedPart(pieces, extents, ranges, stop, row, _identity(status), _identity(after))


class _ReadFiles:
    """Reads files into a slab, one behind the other, until there is no room."""

    def __init__(self, slab: memoryview, *, sparse: bool) -> None:
        self._slab = slab
        self._sparse = sparse
        self.end = 0
        self.found: list[Found] = []
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
                self._troubles.extend(_trouble(group, name, error) for name in group.names)
                continue
            try:
                for name in group.names:
                    try:
                        self._one(group, name, directory)
                    except OSError as error:
                        self._troubles.append(_trouble(group, name, error))
            finally:
                os.close(directory)

    def sizes(self) -> list[int]:
        """The files' sizes in bytes, in their order."""
        return [found.head[SIZE] for found in self.found]

    def result(self, pieces: list[Piece], rows: Rows) -> NamedFiles:
        """What the job answers."""
        return NamedFiles(
            pieces,
            rows.whole,
            rows.rows,
            rows.extents,
            self._troubles,
            self._grown,
            self._changing,
            self.end,
        )

    def _one(self, group: Group, name: bytes, directory: int) -> None:
        descriptor, status = open_with_status(name, directory)
        try:
            for _ in range(READ_TRIES):
                size = status.st_size
                room = self._slab[self.end : self.end + size]
                if size > len(room):
                    self._grown.append((group._replace(names=[name]), size))
                    return
                ranges: list[Range] = []
                if self._sparse:
                    ranges, got = _fill(descriptor, room, status, 0)
                else:
                    got = read_into(descriptor, room, 0)
                before, status = status, os.fstat(descriptor)
                if got == size and _same(before, status):
                    break
            else:
                self._changing.append(group.path + b"/" + name)
            if self._sparse:
                checksum, filled = _checksum(room, ranges, got), _filled(ranges)
                self.ranges.append([r._replace(offset=r.offset + self.end) for r in ranges])
            else:
                checksum, filled = xxhash.xxh3_128_digest(room[:got]), got
            self.found.append(_found(group, name, descriptor, before, got, checksum))
            self.end += filled
        finally:
            os.close(descriptor)


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


def _found(
    group: Group,
    name: bytes,
    descriptor: int,
    status: os.stat_result,
    size: int,
    checksum: bytes | None,
) -> Found:
    attributes = read_attributes(descriptor)
    return Found(
        (
            group.directory,
            name,
            group.reason,
            group.since,
            status.st_mode & 0o7777,
            status.st_uid,
            status.st_gid,
            size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            checksum,
        ),
        status.st_dev if status.st_nlink > 1 else None,
        encode_attributes(attributes) if attributes else None,
    )


def _trouble(group: Group, name: bytes, error: OSError) -> Trouble:
    return Trouble(
        group.directory, group.path, name, error.errno or 0, error.strerror or str(error)
    )
