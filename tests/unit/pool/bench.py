"""A worker's bench: tools, a slab, and files to read, all in this process."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import xxhash
from attrs import define, field

from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.generation.rows import EntryRow, ExtentRow
from obnam.live.read import identity_of
from obnam.model.chunk import ChunkKind
from obnam.model.entry import Kind
from obnam.pool.named import Group, NamedFiles, Piece
from obnam.pool.read_files import name_bundle, name_files
from obnam.pool.slabs import Slab, make_slab
from obnam.pool.worker import Tools
from tests.support.inline_pool import tools_of

KEYS = RepositoryKeys.derive(MasterKey(bytes(range(32))))
SLAB_BYTES = 2 << 20


def noise(seed: object, length: int) -> bytes:
    """Bytes that do not shrink, the same for the same seed."""
    return hashlib.shake_128(str(seed).encode()).digest(length)


def group_of(directory: Path, *names: bytes, number: int = 7) -> Group:
    """Files of one directory, as the scan would name them."""
    return Group(number, bytes(directory), identity_of(directory.stat()), 1, 3, [*names])


def whole_rows(named: NamedFiles) -> list[EntryRow]:
    """Rows of files in one extent as the database has them."""
    return [
        EntryRow._make((*file[:2], Kind.FILE, *file[2:11], None, *file[11:], None, None, None))
        for file in named.whole
    ]


@define
class Bench:
    """One slab, and what lies in it."""

    tools: Tools = field(factory=lambda: tools_of(KEYS))
    slab: Slab = field(factory=lambda: make_slab(SLAB_BYTES))

    def close(self) -> None:
        """Give the slab back, and its memory: each mapping has a descriptor of its own."""
        self.slab.remove()
        self.slab.view = memoryview(b"")
        self.tools._slabs.clear()

    def plaintext(self, piece: Piece) -> bytes:
        """A piece's bytes, whose name must be right."""
        offset, length, chunk_id = piece
        data = bytes(self.slab.view[offset : offset + length])
        assert self.tools.namer.name(ChunkKind.DATA, data) == chunk_id
        return data

    def content(
        self, pieces: Sequence[Piece], extents: Sequence[ExtentRow], size: int
    ) -> tuple[bytes, list[tuple[int, int]]]:
        """A file put together again, and its holes (from, to)."""
        content, holes = bytearray(), []
        for position, piece, start, length in extents:
            assert position >= len(content)
            if position > len(content):
                holes.append((len(content), position))
                content += bytes(position - len(content))
            data = self.plaintext(pieces[piece])[start : start + length]
            assert len(data) == length > 0
            content += data
        if size > len(content):
            holes.append((len(content), size))
            content += bytes(size - len(content))
        assert len(content) == size
        return bytes(content), holes

    def files(self, named: NamedFiles) -> dict[bytes, bytes]:
        """All files of a job's answer by name; checksums are checked."""
        end = 0
        for piece in named.pieces:  # end to end, none left out
            assert piece.offset == end
            end += piece.length
        return {name: content for name, (content, _) in self._contents(named).items()}

    def holes(self, named: NamedFiles) -> dict[bytes, list[tuple[int, int]]]:
        """Their holes."""
        return {name: holes for name, (_, holes) in self._contents(named).items()}

    def _contents(self, named: NamedFiles) -> dict[bytes, tuple[bytes, list[tuple[int, int]]]]:
        found = {row.name: self._content(named, -1, row) for row in whole_rows(named)}
        for index, row in enumerate(named.rows):
            assert row.name not in found
            found[row.name] = self._content(named, index, row)
        return found

    def _content(
        self, named: NamedFiles, index: int, row: EntryRow
    ) -> tuple[bytes, list[tuple[int, int]]]:
        assert row.size is not None
        if row.chunk is not None and row.start is not None:
            assert index not in named.extents
            extents = [ExtentRow(0, row.chunk, row.start, row.size)]
        else:
            extents = named.extents.get(index, [])
        content, holes = self.content(named.pieces, extents, row.size)
        assert row.checksum == xxhash.xxh3_128_digest(content)
        return content, holes


def write(directory: Path, name: str, *parts: tuple[int, bytes], size: int | None = None) -> None:
    """Make a file with data at some positions, and holes between them."""
    descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for position, data in parts:
            os.pwrite(descriptor, data, position)
        if size is not None:
            os.truncate(descriptor, size)
    finally:
        os.close(descriptor)


Job = Callable[..., NamedFiles]
JOBS = pytest.mark.parametrize("job", [name_bundle, name_files])


def run(bench: Bench, job: Job, directory: Path, *names: bytes) -> NamedFiles:
    """Do a job with files of one directory."""
    return job(bench.tools, bench.slab.name, [group_of(directory, *names)])
