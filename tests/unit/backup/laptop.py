"""A computer that backs itself up to a server in memory, without worker processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock

from obnam.backup.run import Backup, BackupResult
from obnam.backup.scan import ScanSettings
from obnam.crypto.envelope import Compression
from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.seal import Sealer, best_suite
from obnam.model.entry import Reason
from obnam.model.ids import ClientName, GenerationId
from obnam.pool.thread import OwnThread
from obnam.repository.cache import GenerationCache
from obnam.repository.generations import Generations
from tests.support.counting_repository import CountingRepository
from tests.support.in_memory import folder_in_memory
from tests.support.inline_pool import InlinePool, tools_of
from tests.support.memory_repository import MemoryServer
from tests.support.null_progress import NullProgress
from tests.support.reading_back import ReadBack, Reader

KEYS = RepositoryKeys.derive(MasterKey(bytes(range(32))))
reactor: Any = global_reactor


@define
class Laptop:
    """Live data at ``root``, and what a client of one repository has besides."""

    root: Path
    home: Path
    thread: OwnThread
    checksums: OwnThread
    server: MemoryServer = field(factory=MemoryServer)
    clock: Clock = field(factory=Clock)
    warnings: list[str] = field(factory=list)
    repository: CountingRepository = field(init=False)
    pool: InlinePool = field(init=False)
    results: list[BackupResult] = field(factory=list)
    settings: ScanSettings = field(init=False)
    checkpoint_s: float = 1e9
    now_ns: int = 1_800_000_000_000_000_000

    def __attrs_post_init__(self) -> None:
        self.settings = ScanSettings((bytes(self.root),))
        self.repository = CountingRepository(self.server, ClientName("laptop"))
        self.pool = InlinePool(tools_of(KEYS))

    @property
    def cache(self) -> Path:
        """Where databases are kept."""
        return self.home / "cache"

    def generations(self) -> Generations:
        """The way to what is on the server."""
        cache = GenerationCache(self.cache, 1 << 30, lambda: 0.0)
        return Generations(self.repository, KEYS, cache, self.home / "state.json", self.thread)

    def backup(self, **settings: Any) -> Backup:
        """A run that is not begun."""
        # As in a process of its own.
        self.pool = InlinePool(tools_of(KEYS))
        progress = NullProgress()
        self.warnings = progress.warnings
        return Backup(
            self.clock,
            lambda: self.now_ns,
            self.repository,
            self.generations(),
            KEYS,
            Sealer(KEYS, best_suite(), Compression(1)),
            self.pool,
            self.thread,
            self.checksums,
            progress,
            evolve(self.settings, **settings),
            self.checkpoint_s,
        )

    async def back_up(self, **settings: Any) -> GenerationId:
        """Back up; counters begin anew. Leaves nothing behind but the cache."""
        self.repository.stored.clear()
        self.repository.asked.clear()
        self.repository.commits.clear()
        result = await self.backup(**settings).run()
        assert list(self.cache.glob("*.new")) == []
        self.results.append(result)
        assert result.generation is not None
        return result.generation

    async def read(self, generation: GenerationId) -> dict[bytes, ReadBack]:
        """All entries of a generation by path, as they are on the server."""
        return await Reader(self.server, KEYS, self.generations()).read(generation)

    async def below(self, generation: GenerationId) -> dict[str, ReadBack]:
        """The same by path below the root, which is ``""``."""
        top = bytes(self.root)
        entries = await self.read(generation)
        return {p.removeprefix(top).lstrip(b"/").decode(): e for p, e in entries.items()}

    async def reasons(self, generation: GenerationId) -> dict[str, Reason]:
        """Why each entry below the root is there as it is."""
        return {p: e.reason for p, e in (await self.below(generation)).items() if p}


@contextmanager
def laptop_at(path: Path) -> Iterator[Laptop]:
    """A computer whose live data is in a directory of ``path``."""
    (path / "live").mkdir()
    thread, checksums = OwnThread(reactor, "database"), OwnThread(reactor, "checksums")
    try:
        with folder_in_memory() as home:
            yield Laptop(path / "live", home, thread, checksums)
    finally:
        thread.close()
        checksums.close()
