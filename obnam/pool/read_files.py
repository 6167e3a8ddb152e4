"""Jobs of a backup's first step: read, cut and name. Paths come in, ids go out.

The plaintext stays in the slab, where the second step finds what must be sealed.
"""

import os
from collections.abc import Sequence

from obnam.chunking.bundle import PieceExtent, lay_out
from obnam.generation.rows import ExtentRow
from obnam.live.read import advise, open_directory, open_with_status, refuse_too_hollow
from obnam.model.chunk import ChunkKind
from obnam.pool.named import (
    SIZE,
    Group,
    NamedFiles,
    NamedPart,
    Piece,
    Range,
    Rows,
    Trouble,
    file_row,
)
from obnam.pool.reading import ReadFiles, fill, filled, found, trouble
from obnam.pool.worker import Tools


def name_bundle(tools: Tools, slab_name: str, groups: Sequence[Group]) -> NamedFiles:
    """Read small files end to end, and cut the whole as one stream.

    Holes of files this small are read as the zeros that they are.
    """
    slab = tools.slab(slab_name)
    read = ReadFiles(slab)
    read.end_to_end(groups)
    ends = tools.cutter.cut(slab[: read.end], final=True)
    pieces = _named(tools, slab, 0, ends)
    rows, extras = Rows(), read.extras
    add_as_most_are = rows.whole.append
    laid = lay_out(read.sizes(), ends)
    for index, (head, parts) in enumerate(zip(read.heads, laid, strict=True)):
        extra = extras.get(index)
        if len(parts) != 1:
            rows.add(head, extra, _end_to_end(parts))
        elif extra is None:
            add_as_most_are((*head, *parts[0][:2]))
        else:
            rows.add_whole(head, extra, *parts[0][:2])
    return read.result(pieces, rows)


def name_files(tools: Tools, slab_name: str, groups: Sequence[Group]) -> NamedFiles:
    """Read files that fit into the slab together, and cut each by itself."""
    slab = tools.slab(slab_name)
    read = ReadFiles(slab)
    read.sparse(groups)
    pieces: list[Piece] = []
    rows = Rows()
    for index, (head, ranges) in enumerate(zip(read.heads, read.ranges, strict=True)):
        extra = read.extras.get(index)
        if not ranges:
            rows.add(head, extra, [])
            continue
        start, stop = ranges[0].offset, ranges[-1].offset + ranges[-1].length
        ends = tools.cutter.cut(slab[start:stop], final=True)
        own = _named(tools, slab, start, ends)
        parts = _lay_over(own, len(pieces), ranges)
        pieces += own
        if len(parts) == 1 and parts[0].length == head[SIZE]:
            rows.add_whole(head, extra, parts[0].chunk, parts[0].start)
        else:
            rows.add(head, extra, parts)
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
            refuse_too_hollow(status)
            advise(descriptor, status.st_size)
            ranges, stop = fill(descriptor, slab, status, start)
            length = filled(ranges)
            # Not filled: the file ends here, whatever its status said a moment ago.
            final = stop >= status.st_size or length < len(slab)
            ends = tools.cutter.cut(slab[:length], final=final)
            if not final:
                ranges, stop = _up_to(ranges, ends[-1])
            # It may have become shorter than what was read of it before.
            stop = max(stop, start)
            pieces = _named(tools, slab, 0, ends)
            row = None
            if final:
                row = file_row(*found(group, name, descriptor, status, status.st_size, b""))
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return trouble(group, name, error)
    extents = _lay_over(pieces, 0, ranges)
    return NamedPart(pieces, extents, ranges, stop, row, _identity(status), _identity(after))


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


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


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
