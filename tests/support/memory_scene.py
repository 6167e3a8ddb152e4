"""A client with everything but a server and worker processes, for tests of whole runs."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor as global_reactor

from obnam.backup.commit import Committer, Facts
from obnam.backup.run import Backup
from obnam.backup.scan import ScanSettings
from obnam.crypto.envelope import Compression
from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.seal import Sealer, Suite
from obnam.generation.nascent import NascentGeneration
from obnam.generation.rows import EntryRow
from obnam.model.chunk import ChunkKind
from obnam.model.entry import Kind, Reason
from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.pool.thread import OwnThread
from obnam.pool.worker import Tools
from obnam.repository.cache import GenerationCache
from obnam.repository.generations import Generations
from obnam.restore.run import Restore
from obnam.restore.settings import Restored, RestoreSettings
from obnam.verify.run import Verify
from obnam.verify.settings import Verified, VerifySettings
from obnam.wire.frames import pack_header
from tests.support.in_memory import folder_in_memory
from tests.support.inline_pool import InlinePool
from tests.support.memory_repository import MemoryRepository, MemoryServer
from tests.support.null_progress import NullProgress

reactor: Any = global_reactor

KEYS = RepositoryKeys.derive(MasterKey(bytes(range(32))))
SUITE = Suite.XCHACHA20POLY1305
COMPRESSION = Compression(1)
NOW_NS = 1_800_000_000 * 10**9


@define
class Scene:
    """One client of a `MemoryServer`; what it was warned of stands in ``warnings``."""

    folder: Path
    thread: OwnThread
    checksums: OwnThread
    server: MemoryServer = field(factory=MemoryServer)
    warnings: list[str] = field(factory=list)
    pool: InlinePool = field(init=False)
    repository: MemoryRepository = field(init=False)
    generations: Generations = field(init=False)
    sealer: Sealer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = InlinePool(Tools(KEYS, SUITE, COMPRESSION))
        self.repository = self.server.client()
        self.sealer = Sealer(KEYS, SUITE, COMPRESSION)
        cache = GenerationCache(self.folder / "cache", 1 << 30, lambda: NOW_NS / 1e9)
        self.generations = Generations(
            self.repository, KEYS, cache, self.folder / "state.json", self.thread
        )

    async def back_up(self, *roots: Path) -> GenerationId:
        """Back up; what cannot be read may be warned of."""
        result = await Backup(
            clock=reactor,
            now_ns=lambda: NOW_NS,
            repository=self.repository,
            generations=self.generations,
            keys=KEYS,
            sealer=self.sealer,
            pool=self.pool,
            thread=self.thread,
            checksums=self.checksums,
            progress=NullProgress(),
            settings=ScanSettings(tuple(map(os.fsencode, roots))),
        ).run()
        assert result.generation is not None
        return result.generation

    async def restore(
        self, generation: GenerationId, target: Path, *paths: Path | bytes, **more: Any
    ) -> Restored:
        """Restore; by new workers, as each run of the program has its own."""
        self.pool.close()
        progress = NullProgress()
        selected = tuple(os.fsencode(path) for path in paths)
        settings = RestoreSettings(generation, os.fsencode(target), selected, **more)
        try:
            return await Restore(
                clock=reactor,
                repository=self.repository,
                generations=self.generations,
                pool=self.pool,
                thread=self.thread,
                progress=progress,
                settings=settings,
            ).run()
        finally:
            self.warnings = progress.warnings

    async def verify(
        self,
        generation: GenerationId,
        sample_percent: float = 100.0,
        random: Callable[[], float] = lambda: 0.5,
    ) -> Verified:
        """Verify."""
        progress = NullProgress()
        self.warnings = progress.warnings
        return await Verify(
            clock=reactor,
            repository=self.repository,
            generations=self.generations,
            pool=self.pool,
            thread=self.thread,
            checksums=self.checksums,
            random=random,
            progress=progress,
            settings=VerifySettings(generation, sample_percent),
        ).run()

    async def commit(
        self,
        rows: Sequence[EntryRow],
        chunks: Sequence[bytes] = (),
        extents: Mapping[int, Sequence[Sequence[object]]] | None = None,
        lengths: Mapping[int, int] | None = None,
    ) -> GenerationId:
        """Commit a generation with just these rows, sense or not; chunks have numbers from 1.

        ``extents`` by file number; ``lengths``: what the database says of a chunk, if not so.
        """
        ids = [Namer(KEYS).name(ChunkKind.DATA, chunk) for chunk in chunks]
        session = await self.repository.begin_session(None)
        for chunk_id, plaintext in zip(ids, chunks, strict=True):
            await self.repository.store(session, memoryview(self.framed(chunk_id, plaintext)))
        nascent = NascentGeneration.create(self.generations.temporary(), 1)
        connection = nascent._connection
        connection.executemany(
            "INSERT INTO chunk VALUES (?, ?, ?, 1)",
            [
                (number, chunk_id, (lengths or {}).get(number, len(plaintext)))
                for number, (chunk_id, plaintext) in enumerate(zip(ids, chunks, strict=True), 1)
            ],
        )
        marks = ", ".join("?" * len(EntryRow._fields))
        connection.executemany(f"INSERT INTO entry VALUES ({marks})", rows)
        connection.executemany(
            "INSERT INTO extent VALUES (?, ?, ?, ?, ?)",
            [(file, *extent) for file, several in (extents or {}).items() for extent in several],
        )
        nascent._first_new_chunk = 1
        self.thread_free(nascent)

        async def all_stored() -> None:
            """What is referred to was stored before."""

        committer = Committer(
            self.repository, self.thread, KEYS, self.sealer, lambda: NOW_NS, all_stored
        )
        facts = Facts(ClientName("laptop"), (b"/",), NOW_NS)
        base = await committer.commit(session, nascent, None, None, facts)
        nascent.close()
        base.path.unlink()
        return base.opened.manifest.generation

    @staticmethod
    def thread_free(nascent: NascentGeneration) -> None:
        """Write the rows down, and go on; made on one thread, committed on another."""
        nascent._connection.execute("COMMIT")
        nascent._connection.execute("BEGIN")

    def framed(self, chunk_id: ChunkId, plaintext: bytes) -> bytearray:
        """A sealed chunk in its frame."""
        sealed = self.sealer.seal(ChunkKind.DATA, chunk_id, plaintext)
        return bytearray(pack_header(chunk_id, len(sealed)) + sealed)

    def data_chunks(self) -> list[ChunkId]:
        """Ids of all chunks with data on the server, those of the largest first."""
        opener = self.pool.tools.opener
        found = []
        for chunk_id, sealed in self.server.chunks.items():
            try:
                found.append((len(opener.open(ChunkKind.DATA, chunk_id, sealed)), chunk_id))
            except Exception:  # of another kind
                continue
        return [chunk_id for _, chunk_id in sorted(found, reverse=True)]


@contextmanager
def memory_scene() -> Iterator[Scene]:
    """A scene whose threads end with it, and its folder."""
    threads = OwnThread(reactor, "generation"), OwnThread(reactor, "checksums")
    try:
        with folder_in_memory() as folder:
            yield Scene(folder, *threads)
    finally:
        for thread in threads:
            thread.close()


def entry_row(directory: int, name: bytes, kind: Kind = Kind.FILE, **more: Any) -> EntryRow:
    """A row of the client's own user; ``more`` says what is different."""
    values: dict[str, Any] = dict.fromkeys(EntryRow._fields)
    values |= {
        "directory": directory,
        "name": name,
        "kind": kind.value,
        "reason": Reason.NEW.value,
        "since": 1,
        "mode": 0o755 if kind is Kind.DIRECTORY else 0o644,
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "mtime_ns": 1_234_567_890_123_456_789,
    }
    return EntryRow(**(values | more))
