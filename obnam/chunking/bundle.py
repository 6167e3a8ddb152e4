"""Bundles: many small files laid end to end, cut as one stream. Which file lies where?"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class PieceExtent(NamedTuple):
    """A part of a file's content: piece number in the bundle, offset in the piece, length.

    Offset and length in bytes. A tuple, because a task makes thousands of them.
    """

    piece: int
    offset: int
    length: int


def lay_out(lengths: Iterable[int], ends: Sequence[int]) -> list[list[PieceExtent]]:
    """For each file the extents of its content, in order; an empty file has none.

    ``lengths`` are the files' lengths in bytes in the order in which they lie; ``ends`` the end
    offsets of the pieces, growing, the last of them the sum of the lengths. ``ValueError`` when
    they do not fit together.
    """
    extents: list[list[PieceExtent]] = []
    piece = start = position = 0
    total = ends[-1] if ends else 0
    for length in lengths:
        own: list[PieceExtent] = []
        stop = position + length
        if length < 0 or stop > total:
            raise ValueError("the files are longer than the pieces")
        while position < stop:
            end = ends[piece]
            here = min(stop, end)
            if here > position:
                own.append(PieceExtent(piece, position - start, here - position))
                position = here
            if position >= end:
                piece, start = piece + 1, end
        extents.append(own)
    if position != total:
        raise ValueError("the pieces are longer than the files")
    return extents
