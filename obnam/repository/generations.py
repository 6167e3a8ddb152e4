"""Generations as the server keeps them: manifests opened, databases brought here."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Opener, sealed_length_max
from obnam.errors import DamagedGeneration, SealBroken, naming
from obnam.generation import pages
from obnam.generation.manifest import Manifest
from obnam.generation.pagemap import CHUNK_PAGES, PageMap
from obnam.generation.schema import PAGE_BYTES
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ClientName, GenerationId
from obnam.pool.thread import OwnThread
from obnam.repository.cache import GenerationCache, temporary_elsewhere
from obnam.repository.history import History
from obnam.repository.opening import OpenedGeneration, open_generation
from obnam.wire.frames import FRAME_HEADER_BYTES, Frame
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import CommittedGeneration

FETCH_CHUNKS = 8
"""Chunks of a database (1 MiB each) that are fetched at once."""


@define
class Generations:
    """Opens what the repository has; ``history`` remembers what was seen.

    ``server_key``: the key of the server by ``secrets.yaml``; ``client``: who we are by it.
    """

    _repository: IRepository
    _keys: RepositoryKeys
    _cache: GenerationCache
    _state_file: Path
    _thread: OwnThread
    _server_key: bytes | None = None
    _client: ClientName | None = None
    history: History = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.history = History(
            self._repository,
            self.get,
            self._state_file,
            self._thread,
            self._server_key,
            self._client,
        )

    def open(self, committed: CommittedGeneration) -> OpenedGeneration:
        """Open and check a manifest. Raises ``DamagedGeneration``, or ``UnknownFormat``."""
        return open_generation(self._keys, committed)

    async def get(self, generation: GenerationId) -> OpenedGeneration:
        """Fetch and open one. Raises ``NotFound`` too."""
        return self.open(await self._repository.get_generation(generation))

    def temporary(self) -> Path:
        """A path for a database, beside the cached ones. The caller removes the file."""
        return self._cache.temporary()

    async def keep(self, generation: GenerationId, path: Path) -> None:
        """Put a database into the cache; ``path`` stays the caller's."""
        await self._thread.call(self._keep, generation, path)

    async def database(self, opened: OpenedGeneration) -> Path:
        """The generation's database as a file that nobody changes. The caller removes it.

        From the cache or from the server. Raises ``DamagedGeneration``.
        """
        try:
            return await self._database(opened.manifest, self._cache.temporary)
        except OSError:
            # Whoever only reads needs no cache: it may be full, or on a disk that is read only.
            return await self._database(opened.manifest, temporary_elsewhere)

    async def _database(self, manifest: Manifest, place: Callable[[], Path]) -> Path:
        path = await self._thread.call(place)
        try:
            if not await self._thread.call(
                self._link, manifest.generation, manifest.database_checksum, path
            ):
                await self._fetch(manifest, path)
                await self._thread.call(self._keep_if_possible, manifest.generation, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _keep(self, generation: GenerationId, path: Path) -> None:
        copy = self.temporary()
        with naming(copy):
            try:
                os.link(path, copy)
                if not self._cache.put(generation, copy):
                    copy.unlink()
            except BaseException:
                copy.unlink(missing_ok=True)
                raise

    def _keep_if_possible(self, generation: GenerationId, path: Path) -> None:
        with suppress(OSError):  # It is there, and next time it is fetched again.
            self._keep(generation, path)

    def _link(self, generation: GenerationId, checksum: bytes, path: Path) -> bool:
        cached = self._cache.get(generation, checksum)
        if cached is None:
            return False
        try:
            os.link(cached, path)
        except FileNotFoundError:
            return False  # Removed from the cache meanwhile, which is always allowed.
        except OSError:
            with naming(path):
                shutil.copyfile(cached, path)  # To another disk.
            return pages.checksum(path) == checksum
        return True

    async def _fetch(self, manifest: Manifest, path: Path) -> None:
        page_map = manifest.database
        if not page_map.chunks:
            raise DamagedGeneration(manifest.generation, "it has no database")
        room = FRAME_HEADER_BYTES + sealed_length_max(CHUNK_PAGES * PAGE_BYTES)
        into = memoryview(bytearray(FETCH_CHUNKS * room))
        for at in range(0, len(page_map.chunks), FETCH_CHUNKS):
            part = page_map.chunks[at : at + FETCH_CHUNKS]
            frames = await self._repository.fetch([chunk.id for chunk in part], into)
            try:
                await self._thread.call(self._write, path, page_map, at, frames, into)
            except SealBroken as error:
                raise DamagedGeneration(
                    manifest.generation, f"its database is damaged: {error}"
                ) from error
        if await self._thread.call(pages.checksum, path) != manifest.database_checksum:
            raise DamagedGeneration(manifest.generation, "its database is damaged: wrong checksum")

    def _write(
        self, path: Path, page_map: PageMap, first: int, frames: Sequence[Frame], into: memoryview
    ) -> None:
        opener = Opener(self._keys)
        with naming(path), path.open("r+b" if path.exists() else "xb") as file:
            for index, frame in enumerate(frames, first):
                sealed = into[frame.offset : frame.offset + frame.length]
                plaintext = opener.open(ChunkKind.GENERATION_DATABASE, frame.chunk_id, sealed)
                pages.place(file, page_map, index, plaintext)
