"""Bundles: many small files laid end to end, cut as one stream. Which file lies where?"""

from collections.abc import Iterable, Sequence

PieceExtent = tuple[int, int, int]
"""A part of a file's content: piece number in the bundle, offset in the piece, length.

Offset and length in bytes. A plain tuple, because there is one for each file of a first backup.
"""


def lay_out(lengths: Iterable[int], ends: Sequence[int]) -> list[list[PieceExtent]]:
    """For each file the extents of its content, in order; an empty file has none.

    ``lengths`` are the files' lengths in bytes in the order in which they lie; ``ends`` the end
    offsets of the pieces, growing, the last of them the sum of the lengths. ``ValueError`` when
    they do not fit together.
    """
    extents: list[list[PieceExtent]] = []
    piece = start = position = 0
    total = ends[-1] if ends else 0
    end = ends[0] if ends else 0
    for length in lengths:
        stop = position + length
        if position < stop <= end:  # as most do, it lies in one piece
            extents.append([(piece, position - start, length)])
            position = stop
            continue
        if length < 0 or stop > total:
            raise ValueError("the files are longer than the pieces")
        own: list[PieceExtent] = []
        while position < stop:
            if position == end:
                piece, start, end = piece + 1, end, ends[piece + 1]
            here = min(stop, end)
            own.append((piece, position - start, here - position))
            position = here
        extents.append(own)
    if position != total:
        raise ValueError("the pieces are longer than the files")
    return extents
