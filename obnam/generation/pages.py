"""Reads the pages of database files: which differ, and their bytes. Blocking."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import xxhash

from obnam.generation.pagemap import CHUNK_PAGES, PageMap
from obnam.generation.schema import PAGE_BYTES

_STRIDE = 1 << 20
"""Bytes compared at once; only strides that differ are looked at page by page."""


def count_pages(path: Path) -> int:
    """Pages in the file; SQLite files are whole pages."""
    return path.stat().st_size // PAGE_BYTES


def changed_pages(old: Path, new: Path) -> list[int]:
    """Numbers of the pages of ``new`` that differ from ``old`` or are not in it, in order."""
    changed: list[int] = []
    with old.open("rb") as before, new.open("rb") as after:
        page = 0
        while stride := after.read(_STRIDE):
            other = before.read(_STRIDE)
            if stride != other:
                changed.extend(
                    page + at // PAGE_BYTES
                    for at in range(0, len(stride), PAGE_BYTES)
                    if stride[at : at + PAGE_BYTES] != other[at : at + PAGE_BYTES]
                )
            page += len(stride) // PAGE_BYTES
    return changed


def pieces(path: Path, pages: Sequence[int]) -> Iterator[bytes]:
    """The given pages, in order, laid end to end, in pieces of at most 256 pages."""
    with path.open("rb") as file:
        for at in range(0, len(pages), CHUNK_PAGES):
            part = pages[at : at + CHUNK_PAGES]
            if part[-1] - part[0] == len(part) - 1:
                file.seek(part[0] * PAGE_BYTES)
                yield file.read(len(part) * PAGE_BYTES)
                continue
            piece = bytearray()
            for page in part:
                file.seek(page * PAGE_BYTES)
                piece += file.read(PAGE_BYTES)
            yield bytes(piece)


def checksum(path: Path) -> bytes:
    """xxh3-128 of the whole file, 16 bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while stride := file.read(_STRIDE):
            digest.update(stride)
    return digest.digest()


def chunk_of(path: Path, page_map: PageMap, index: int) -> bytes | None:
    """Chunk number ``index`` made again from the database; ``None``: some of its pages are not in
    it any more, so that only an older one had them."""
    content: dict[int, bytes] = {}
    with path.open("rb") as file:
        for run in page_map.runs:
            if run.chunk == index:
                for nth in range(run.count):
                    file.seek((run.page + nth) * PAGE_BYTES)
                    content[run.start + nth] = file.read(PAGE_BYTES)
    wanted = range(page_map.chunks[index].pages)
    return b"".join(content[page] for page in wanted) if content.keys() >= set(wanted) else None


def place(file: BinaryIO, page_map: PageMap, chunk: int, plaintext: bytes) -> None:
    """Write those pages of chunk number ``chunk`` that the map wants to where they belong."""
    for run in page_map.runs:
        if run.chunk == chunk:
            start = run.start * PAGE_BYTES
            file.seek(run.page * PAGE_BYTES)
            file.write(plaintext[start : start + run.count * PAGE_BYTES])
