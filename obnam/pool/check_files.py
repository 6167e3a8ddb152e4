"""Jobs of ``verify``: open chunks, check files, write nothing. Sealed bytes lie in a slab."""

from collections.abc import Sequence
from typing import NamedTuple

from obnam.pool.open_chunks import ChunkUnusable, OpenChunks, SealedChunk, checksum
from obnam.pool.worker import Tools
from obnam.pool.write_files import WRONG_CHECKSUM, Group


class Checked(NamedTuple):
    """``troubles``: files (counted over all groups, from 0) that are not whole, and why.

    ``broken``: indices of chunks that are missing or damaged, each with what it is.
    """

    troubles: list[tuple[int, str]]
    broken: list[tuple[int, str]]


class OpenedPart(NamedTuple):
    """Where in the slab the plaintext of each chunk lies (offset, length), if all is well.

    ``broken`` as in `Checked`; ``trouble``: what is wrong with the file because of it.
    """

    places: list[tuple[int, int]]
    broken: list[tuple[int, str]]
    trouble: str | None


def check_files(
    tools: Tools, slab_name: str | None, chunks: Sequence[SealedChunk], groups: Sequence[Group]
) -> Checked:
    """Open all chunks, and compare each file with its checksum."""
    slab = memoryview(b"") if slab_name is None else tools.slab(slab_name)
    opened = OpenChunks(tools, slab, chunks)
    broken = _broken(opened, len(chunks))
    troubles: list[tuple[int, str]] = []
    index = -1
    for group in groups:
        for file in group.all_files():
            index += 1
            try:
                if checksum(opened.content(file.extents), file.size) != file.checksum:
                    troubles.append((index, WRONG_CHECKSUM))
            except ChunkUnusable as error:
                troubles.append((index, str(error)))
        index += len(group.others)
    return Checked(troubles, broken)


def open_part(tools: Tools, slab_name: str, chunks: Sequence[SealedChunk], into: int) -> OpenedPart:
    """Open all chunks into the same slab, end to end from ``into`` on."""
    slab = tools.slab(slab_name)
    opened = OpenChunks(tools, slab, chunks)
    broken = _broken(opened, len(chunks))
    if broken:
        return OpenedPart([], broken, broken[0][1])
    places: list[tuple[int, int]] = []
    for index in range(len(chunks)):
        plaintext = opened.whole(index)
        if len(plaintext) > len(slab) - into:
            return OpenedPart([], [], "a chunk is longer than the generation says")
        slab[into : into + len(plaintext)] = plaintext
        places.append((into, len(plaintext)))
        into += len(plaintext)
    return OpenedPart(places, [], None)


def _broken(opened: OpenChunks, count: int) -> list[tuple[int, str]]:
    broken: list[tuple[int, str]] = []
    for index in range(count):
        try:
            opened.whole(index)
        except ChunkUnusable as error:
            broken.append((index, str(error)))
    return broken
