"""Makes what was recorded a generation: references, database pages, manifest, commit.

The order is the safety: chunks are durable before the commit names them, and the commit is one
request, all or nothing. What needs no answer of the server is done while the last chunks are sent.
"""

import secrets
import socket
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

from obnam import __version__
from obnam.backup.base import Base
from obnam.backup.meanwhile import NEVER, Meanwhile
from obnam.backup.scan import Scan, ScanCounts
from obnam.backup.uploads import Sent
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.seal import Sealer
from obnam.generation import manifest as manifests
from obnam.generation import pagemap, pages
from obnam.generation.manifest import Link, Manifest
from obnam.generation.nascent import NascentGeneration
from obnam.generation.pagemap import PageChunk, PageMap
from obnam.generation.schema import PAGE_BYTES
from obnam.model.chunk import ChunkKind, SetSum
from obnam.model.ids import ChunkId, ClientName, GenerationId, SessionId
from obnam.pool.thread import OwnThread
from obnam.pool.together import both
from obnam.repository import trust
from obnam.repository.opening import OpenedGeneration
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.interfaces import IRepository
from obnam.wire.limits import REFERENCE_IDS_MAX, UPLOAD_BODY_MAX
from obnam.wire.messages import Commit

REFERENCES_AT_ONCE = REFERENCE_IDS_MAX // 2


@frozen
class Facts:
    """What a generation says of itself, besides its contents."""

    client: ClientName
    roots: tuple[bytes, ...]
    started_ns: int
    counts: Mapping[str, int] = field(factory=dict)
    partial: bool = False

    unsettled: Meanwhile = NEVER

    def so_far(self, scan: Scan, sent: Sent) -> "Facts":
        """The same, of a checkpoint."""
        return evolve(self.counted(scan.counts, sent), partial=True, unsettled=scan.unsettled)

    def counted(self, scan: ScanCounts, sent: Sent) -> "Facts":
        """The same, with the counts as they are now."""
        counts = {
            "entries": scan.entries,
            "unchanged": scan.unchanged,
            "unchanged_bytes": scan.unchanged_bytes,
            "read_files": sent.files,
            "read_bytes": sent.read_bytes,
            "sent_chunks": sent.chunks,
            "sent_bytes": sent.sent_bytes,
        }
        return evolve(self, counts=counts)


@define
class Committer:
    """Commits nascent generations of one client to one repository.

    ``all_stored`` waits until all chunks that a generation refers to are durable on the server.
    ``lost``: chunks that the server has lost; pages of the database in them are stored anew.
    """

    _repository: IRepository
    _thread: OwnThread
    _keys: RepositoryKeys
    _sealer: Sealer
    _now_ns: Callable[[], int]
    _all_stored: Callable[[], Coroutine[Any, Any, None]]
    _lost: Collection[ChunkId] = ()

    async def commit(
        self,
        session: SessionId,
        nascent: NascentGeneration,
        base: Base | None,
        previous: trust.Link | None,
        facts: Facts,
        copy: Path | None = None,
    ) -> Base:
        """Finish ``nascent`` and commit it; with ``copy``, commit a copy of it as it is now.

        ``base`` is what the session began with; ``previous`` what the chain goes on from (they
        differ when the previous database is lost).
        """
        generation = GenerationId(secrets.token_hex(16))
        sequence = nascent.sequence  # a copy's: the original goes on with the next one
        first_new = nascent.first_new_chunk
        chunks = SetSum() if base is None else base.opened.manifest.chunks
        chunks = await self._refer_removed(session, nascent, chunks)
        await self._thread.call(nascent.describe, self._described(generation, nascent, facts))
        if copy is None:
            path = nascent.path
            await self._thread.call(nascent.finish)
        else:
            path = copy
            await self._thread.call(nascent.save_copy, copy)
        page_map, chunks = await both(
            self._store_pages(session, path, base),
            self._refer_added(session, nascent.added_chunks(first_new), chunks),
        )
        before = set() if base is None else {c.id for c in base.opened.manifest.database.chunks}
        after = {chunk.id for chunk in page_map.chunks}
        added, removed = sorted(after - before), sorted(before - after)
        await self._refer(session, added, removed)
        manifest = Manifest(
            generation=generation,
            client=facts.client,
            host=socket.gethostname(),
            sequence=sequence,
            previous=None if previous is None else Link(previous.generation, previous.manifest_id),
            partial=facts.partial,
            started_ns=facts.started_ns,
            ended_ns=self._now_ns(),
            roots=facts.roots,
            counts=facts.counts,
            chunks=chunks.add(added).remove(removed),
            database=page_map,
            database_checksum=await self._thread.call(pages.checksum, path),
            obnam_version=__version__,
        )
        return Base(await self._commit(session, manifest), path)

    async def _commit(self, session: SessionId, manifest: Manifest) -> OpenedGeneration:
        from obnam.crypto.signing import Signer  # slow to import

        plaintext = manifests.encode(manifest, Signer(self._keys).sign)
        manifest_id = Namer(self._keys).name(ChunkKind.MANIFEST, plaintext)
        receipt = await self._repository.commit(
            session,
            Commit(
                generation=manifest.generation,
                previous=None if manifest.previous is None else manifest.previous.generation,
                chunks=manifest.chunks,
                manifest_id=manifest_id,
                manifest=self._sealer.seal(ChunkKind.MANIFEST, manifest_id, plaintext),
                partial=manifest.partial,
            ),
        )
        return OpenedGeneration(manifest, manifest_id, receipt)

    def _described(
        self, generation: GenerationId, nascent: NascentGeneration, facts: Facts
    ) -> Mapping[str, object]:
        return {
            "generation": generation,
            "sequence": nascent.sequence,
            "client": facts.client,
            "host": socket.gethostname(),
            "roots": [root.hex() for root in facts.roots],
            "started_ns": facts.started_ns,
            "ended_ns": self._now_ns(),
            "counts": dict(facts.counts),
            "partial": int(facts.partial),
            "unsettled": list(facts.unsettled.runs),
            "obnam_version": __version__,
            "algorithms": {"chunk_id": "blake3", "checksum": "xxh3-128", "cutter": "fastcdc"},
        }

    async def _refer_removed(
        self, session: SessionId, nascent: NascentGeneration, chunks: SetSum
    ) -> SetSum:
        """Tell the server what data chunks of the base are not needed any more; the new sum."""
        removed = nascent.removed_chunks()
        while part := await self._thread.call(_take, removed):
            await self._refer(session, [], part)
            chunks = await self._thread.call(chunks.remove, part)
        return chunks

    async def _refer_added(
        self, session: SessionId, added: Iterator[ChunkId], chunks: SetSum
    ) -> SetSum:
        """Tell the server what data chunks there are that the base has not; the new sum.

        Once they are stored: to refer to others costs it more.
        """
        await self._all_stored()
        while part := await self._thread.call(_take, added):
            await self._refer(session, part, [])
            chunks = await self._thread.call(chunks.add, part)
        return chunks

    async def _refer(
        self, session: SessionId, added: Sequence[ChunkId], removed: Sequence[ChunkId]
    ) -> None:
        if added or removed:
            await self._repository.refer(session, added, removed)

    async def _store_pages(self, session: SessionId, path: Path, base: Base | None) -> PageMap:
        """Store the pages of the database at ``path`` that its base does not have."""
        count = await self._thread.call(pages.count_pages, path)
        old = None if base is None else base.opened.manifest.database
        if base is not None and old is not None:
            changed = await self._thread.call(pages.changed_pages, base.path, path)
            lost = [page for page in old.pages_in(self._lost) if page < count]
            changed = sorted({*changed, *lost}) if lost else changed
            # Decided by the map that would be, not by the one that was: no manifest may hold a
            # map that nobody accepts.
            planned = await self._thread.call(pagemap.after_change, old, count, changed)
            if not pagemap.wants_rewrite(planned):
                chunks = await self._send_pages(session, path, changed)
                return await self._thread.call(pagemap.replace_pages, old, count, changed, chunks)
        return pagemap.whole(await self._send_pages(session, path, range(count)))

    async def _send_pages(
        self, session: SessionId, path: Path, numbers: Sequence[int]
    ) -> list[PageChunk]:
        chunks: list[PageChunk] = []
        bodies = self._bodies(path, numbers, chunks)
        while (body := await self._thread.call(next, bodies, None)) is not None:
            await self._repository.store(session, memoryview(body))
        return chunks

    def _bodies(
        self, path: Path, numbers: Sequence[int], chunks: list[PageChunk]
    ) -> Iterator[bytearray]:
        """Seal pages into bodies of frames; what chunks they are is added to ``chunks``."""
        namer = Namer(self._keys)
        kind = ChunkKind.GENERATION_DATABASE
        body = bytearray()
        for piece in pages.pieces(path, numbers):
            chunk_id = namer.name(kind, piece)
            sealed = self._sealer.seal(kind, chunk_id, piece)
            if len(body) + FRAME_HEADER_BYTES + len(sealed) > UPLOAD_BODY_MAX:
                yield body
                body = bytearray()
            body += pack_header(chunk_id, len(sealed))
            body += sealed
            chunks.append(PageChunk(chunk_id, len(piece) // PAGE_BYTES))
        if body:
            yield body


def _take(ids: Iterator[ChunkId]) -> list[ChunkId]:
    return list(islice(ids, REFERENCES_AT_ONCE))
