"""Reads generations the simplest way: database, then each chunk, straight from the server."""

import xxhash
from attrs import define, field, frozen

from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Opener
from obnam.generation.local import LocalEntry, LocalGeneration
from obnam.generation.rows import EntryRow
from obnam.model.chunk import ChunkKind
from obnam.model.entry import Kind, Reason
from obnam.model.ids import GenerationId
from obnam.repository.generations import Generations
from obnam.repository.opening import OpenedGeneration
from tests.support.memory_repository import MemoryServer


@frozen
class ReadBack:
    """An entry of a generation with its content; ``content`` ``None``: nothing is stored."""

    row: EntryRow
    reason: Reason
    content: bytes | None
    holes: tuple[tuple[int, int], ...]

    @property
    def kind(self) -> Kind:
        """What it is."""
        return Kind(self.row.kind)


@define
class Reader:
    """Reads what is on a server; checks lengths, checksums, gaps and chunk sets on the way."""

    server: MemoryServer
    keys: RepositoryKeys
    generations: Generations
    _plain: dict[bytes, bytes] = field(factory=dict)

    async def read(self, generation: GenerationId) -> dict[bytes, ReadBack]:
        """All entries of a generation by path."""
        opened = await self.generations.get(generation)
        path = await self.generations.database(opened)
        local = LocalGeneration(path)
        try:
            self._check_chunks(opened, local)
            return {entry.path: self._entry(local, entry) for entry in local.walk()}
        finally:
            local.close()
            path.unlink()

    def _check_chunks(self, opened: OpenedGeneration, local: LocalGeneration) -> None:
        """The server's set is exactly what the generation needs."""
        wanted = {chunk.id for chunk in opened.manifest.database.chunks}
        for number, chunk_id, uses in local._query("SELECT number, id, uses FROM chunk"):
            used = sum(
                next(local._query(f"SELECT count(*) FROM {table} WHERE chunk = ?", number))[0]
                for table in ("entry", "extent")
            )
            assert uses == used > 0
            wanted.add(chunk_id)
        assert self.server.generations[opened.manifest.generation].chunks == wanted
        orphans = local._query(
            "SELECT count(*) FROM extent WHERE file NOT IN"
            " (SELECT number FROM entry WHERE kind = 1 AND number IS NOT NULL)"
        )
        assert next(orphans) == (0,)

    def _entry(self, local: LocalGeneration, entry: LocalEntry) -> ReadBack:
        row = entry.row
        if row.kind != Kind.FILE or row.checksum is None:
            return ReadBack(row, entry.reason, None, ())
        content = bytearray()
        holes = []
        for position, chunk, start, length in local.extents(row):
            assert position >= len(content)
            if position > len(content):
                holes.append((len(content), position))
                content += bytes(position - len(content))
            piece = self._chunk(local, chunk)[start : start + length]
            assert len(piece) == length
            content += piece
        assert row.size is not None
        assert len(content) <= row.size
        if len(content) < row.size:
            holes.append((len(content), row.size))
            content += bytes(row.size - len(content))
        assert xxhash.xxh3_128_digest(bytes(content)) == row.checksum
        return ReadBack(row, entry.reason, bytes(content), tuple(holes))

    def _chunk(self, local: LocalGeneration, number: int) -> bytes:
        chunk = local.chunk(number)
        if chunk.id not in self._plain:
            sealed = self.server.chunks[chunk.id]
            self._plain[chunk.id] = Opener(self.keys).open(ChunkKind.DATA, chunk.id, sealed)
        assert len(self._plain[chunk.id]) == chunk.length
        return self._plain[chunk.id]
