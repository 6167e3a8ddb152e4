"""Storing anew what is damaged on the server, from live data.

A damaged chunk is needed by older generations too, so it is made again *as it was*: from the
places in files where the latest generation says that its bytes came from. The content is right if
its name is, whatever has become of the files. So all generations are whole again, and no file
must be read whole for it. What cannot be made again, since a file has changed, is not needed by
the coming generation either, once the other files with bytes in that chunk are read again.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial

from attrs import define, field

from obnam.backup.base import Base
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.seal import Sealer
from obnam.generation import pages
from obnam.generation.nascent import NascentGeneration
from obnam.generation.usage import Usage, Use
from obnam.live.read import open_directory, open_regular, read_into
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId, SessionId
from obnam.model.numbers import kept_inode, kept_time
from obnam.pool.thread import OwnThread
from obnam.repository.damage import damaged_ids
from obnam.wire.frames import FRAME_HEADER_BYTES, pack_header
from obnam.wire.interfaces import IRepository
from obnam.wire.limits import SEALED_CHUNK_MAX, UPLOAD_BODY_MAX


@define
class Healed:
    """What came of it. ``lost``: chunks of the latest generation that could not be made again."""

    chunks: int = 0
    lost: set[ChunkId] = field(factory=set)


@define
class Healer:
    """Heals what the latest generation of a client knows of."""

    _repository: IRepository
    _thread: OwnThread
    _keys: RepositoryKeys
    _sealer: Sealer

    async def heal(self, session: SessionId, base: Base, nascent: NascentGeneration) -> Healed:
        """Store damaged chunks of ``base`` anew, as far as they can be made.

        Files with bytes in the others are marked in ``nascent``: they are to be read again.
        """
        healed = Healed()
        damaged = await damaged_ids(self._repository)
        if not damaged:
            return healed
        bodies = self._bodies(base, damaged, nascent, healed)
        try:
            while (body := await self._thread.call(next, bodies, None)) is not None:
                await self._repository.store(session, memoryview(body))
        finally:
            await self._thread.call(bodies.close)
        return healed

    def _bodies(
        self, base: Base, damaged: set[ChunkId], nascent: NascentGeneration, healed: Healed
    ) -> Generator[bytearray, None, None]:
        """Frames of chunks that are made again, in bodies to upload."""
        body = bytearray()
        for kind, chunk_id, plaintext in self._chunks(base, damaged, nascent):
            if plaintext is None:
                healed.lost.add(chunk_id)
                continue
            sealed = self._sealer.seal(kind, chunk_id, plaintext)
            if body and len(body) + FRAME_HEADER_BYTES + len(sealed) > UPLOAD_BODY_MAX:
                yield body
                body = bytearray()
            body += pack_header(chunk_id, len(sealed))
            body += sealed
            healed.chunks += 1
        if body:
            yield body

    def _chunks(
        self, base: Base, damaged: set[ChunkId], nascent: NascentGeneration
    ) -> Iterator[tuple[ChunkKind, ChunkId, bytes | bytearray | None]]:
        """Kind, id and plaintext of the damaged chunks that ``base`` has; ``None``: it is lost."""
        namer = Namer(self._keys)
        page_map = base.opened.manifest.database
        kind = ChunkKind.GENERATION_DATABASE
        for index, chunk in enumerate(page_map.chunks):
            if chunk.id in damaged:
                found = pages.chunk_of(base.path, page_map, index)
                good = found is not None and namer.name(kind, found) == chunk.id
                yield kind, chunk.id, found if good else None
        with closing(Usage(base.path, damaged)) as usage:
            lost = []
            for chunk_id, length in usage.chunks():
                uses = partial(usage.uses, chunk_id)
                made = _made_again(namer, chunk_id, length, uses)
                yield ChunkKind.DATA, chunk_id, made
                if made is None:
                    lost.append(chunk_id)
            nascent.read_again(usage.entries(lost))


def _made_again(
    namer: Namer, chunk_id: ChunkId, length: int, uses: Callable[[], Iterable[Use]]
) -> bytearray | None:
    """The plaintext of a chunk from live data; ``None``: it is not there any more."""
    if not 0 < length <= SEALED_CHUNK_MAX:
        return None
    # First of files that are as they were; then of all, for what lies there may be the same.
    for strict in (True, False):
        plaintext = bytearray(length)
        if _gather(plaintext, uses(), strict) and namer.name(ChunkKind.DATA, plaintext) == chunk_id:
            return plaintext
    return None


def _gather(plaintext: bytearray, uses: Iterable[Use], strict: bool) -> bool:
    """Whether all bytes of the chunk were found somewhere. ``uses``: in the order of its bytes."""
    view, at = memoryview(plaintext), 0
    try:
        for use in uses:
            end = min(use.start + use.length, len(plaintext))
            if use.start > at:
                return False
            if end > at and _read(view[at:end], use, at - use.start, strict):
                at = end
        return at == len(plaintext)
    finally:
        view.release()


def _read(into: memoryview, use: Use, skip: int, strict: bool) -> bool:
    """Read what a file has of a chunk, from ``skip`` bytes on. The scan tells what is wrong."""
    try:
        directory = open_directory(os.path.dirname(use.path))
        try:
            file = open_regular(os.path.basename(use.path), directory)
        finally:
            os.close(directory)
        try:
            now, then = os.fstat(file), use.status
            times = kept_time(now.st_mtime_ns), kept_time(now.st_ctime_ns)
            same = (now.st_size, *times, kept_inode(now.st_ino)) == tuple(then)
            if strict and not same:
                return False
            return read_into(file, into, use.position + skip) == len(into)
        finally:
            os.close(file)
    except OSError:
        return False
