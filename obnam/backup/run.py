"""The whole order of a backup, on one screen."""

from collections.abc import Callable
from math import inf

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from obnam.backup.ahead import ScanAhead
from obnam.backup.base import Base, Bases
from obnam.backup.commit import Committer, Facts
from obnam.backup.heal import Healed, Healer
from obnam.backup.large import LargeFileReader
from obnam.backup.meanwhile import NEVER, Meanwhile
from obnam.backup.orphans import batches_of
from obnam.backup.pipeline import (
    PLAINTEXT_SLAB_BYTES,
    PLAINTEXT_SLABS,
    SEALED_SLABS,
    Pipeline,
)
from obnam.backup.record import Recorder
from obnam.backup.scan import Scan, ScanSettings
from obnam.backup.sender import Sender
from obnam.backup.uploads import SEALED_SLAB_BYTES, Sent, Uploads
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Sealer
from obnam.errors import ChunksMissing
from obnam.generation.nascent import NascentGeneration
from obnam.model.ids import GenerationId, SessionId
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.thread import OwnThread
from obnam.progress import IProgress
from obnam.repository.generations import Generations
from obnam.repository.quota import quota_warning
from obnam.repository.trust import Link
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import RepositoryDescription

CHECKPOINT_S = 600.0
"""So often what is stored so far is committed as a partial generation."""


@frozen
class BackupResult:
    """What a backup did. ``generation`` is ``None`` for a dry run.

    ``healed_chunks``: chunks that were damaged on the server, and were made again.
    """

    generation: GenerationId | None
    entries: int
    unchanged: int
    sent: Sent
    warnings: int
    duration_s: float
    healed_chunks: int = 0


@define
class Backup:
    """One run of ``obnam backup``: what it works with, and its order."""

    clock: IReactorTime
    now_ns: Callable[[], int]
    repository: IRepository
    generations: Generations
    keys: RepositoryKeys
    sealer: Sealer
    pool: IPool
    thread: OwnThread
    checksums: OwnThread
    progress: IProgress
    settings: ScanSettings
    checkpoint_s: float = CHECKPOINT_S
    _bases: Bases = field(init=False)
    _warnings: int = field(init=False, default=0)

    @_bases.default
    def _(self) -> Bases:
        return Bases(self.repository, self.generations, self.thread, self._warn)

    async def run(self) -> BackupResult:
        """Back up all roots into a new generation.

        Chunks of the generation before may be lost or damaged on the server: then no generation
        that relies on them is accepted, until they are read and stored again.
        """
        began_s = self.clock.seconds()
        try:
            return await self._run(began_s, anew=False)
        except ChunksMissing as error:
            self._warnings = 0
            self._warn(
                f"the server has lost {error.count} chunks of earlier backups; "
                f"all files are read again, and what is still in them is stored anew"
            )
        return await self._run(began_s, anew=True)

    async def _run(self, began_s: float, *, anew: bool) -> BackupResult:
        started_ns = self.now_ns()
        self.progress.stage("scan")
        description, latest, previous = await self._bases.latest()
        base = None if anew else await self._bases.of(latest)
        nascent = await self._bases.nascent(previous, base)
        racks = (
            SlabRack(PLAINTEXT_SLABS, PLAINTEXT_SLAB_BYTES),
            SlabRack(SEALED_SLABS, SEALED_SLAB_BYTES),
        )
        pipeline: Pipeline | None = None
        try:
            session = await self._begin(base)
            healed = Healed()
            if description.damaged_chunk_count and base is not None:
                self.progress.stage("heal")
                healer = Healer(self.repository, self.thread, self.keys, self.sealer)
                healed = await healer.heal(session, base, nascent)
            scan = self._scan(nascent, base)
            pipeline, sent = self._pipeline(nascent, session, *racks, description)
            committer = self._committer(pipeline, healed)
            facts = Facts(description.client, self.settings.roots, started_ns)
            batches = ScanAhead(self.thread, scan.batches())
            self.progress.stage("backup")
            while not await pipeline.run(batches, self.clock.seconds() + self.checkpoint_s):
                so_far = facts.so_far(scan, sent)
                new = await self._checkpoint(committer, session, nascent, base, previous, so_far)
                base = await self._bases.kept(base, new)
                previous = base.opened.shown().link
                session = await self._begin(base)
                pipeline.go_on_in(session)
            if orphans := await self.thread.call(nascent.settle):
                again = batches_of(orphans, PLAINTEXT_SLAB_BYTES)
                await pipeline.run(ScanAhead(self.thread, again), inf)
            self.pool.rest()
            self.progress.stage("commit")
            final = facts.counted(scan.counts, sent)
            new = await committer.commit(session, nascent, base, previous, final)
            base = await self._bases.kept(base, new)
            near = quota_warning(description, sent.sent_bytes)
            if near is not None:
                # Nothing is wrong with this backup: it does not count as a warning of it.
                self.progress.warn(near)
            return self._result(began_s, base.opened.manifest.generation, scan, sent, healed)
        finally:
            if pipeline is not None:
                await pipeline.stop()
            for rack in racks:
                rack.close()
            await self.thread.call(_remove, nascent, base)

    async def dry_run(self) -> BackupResult:
        """Scan, and say what would be read; nothing is written on the server."""
        began_s = self.clock.seconds()
        _, latest, previous = await self._bases.latest()
        base = await self._bases.of(latest)
        nascent = await self._bases.nascent(previous, base)
        try:
            scan = self._scan(nascent, base)
            batches = scan.batches()
            sent = Sent()
            while (batch := await self.thread.call(next, batches, None)) is not None:
                sent.files += batch.file_count
                sent.read_bytes += batch.size_bytes
            return self._result(began_s, None, scan, sent, Healed())
        finally:
            await self.thread.call(_remove, nascent, base)

    def _scan(self, nascent: NascentGeneration, base: Base | None) -> Scan:
        # Where a checkpoint ended, nothing is known of what lies behind it.
        before = None if base is None else base.opened.manifest
        ran = NEVER if before is None else Meanwhile.between(before.started_ns, before.ended_ns)
        return Scan(
            nascent,
            self.settings,
            PLAINTEXT_SLAB_BYTES,
            lambda message: self.thread.tell(self._warn, message),
            first=before is None or before.partial,
            before=ran,
        )

    async def _begin(self, base: Base | None) -> SessionId:
        generation = None if base is None else base.opened.manifest.generation
        return await self.repository.begin_session(generation)

    def _pipeline(
        self,
        nascent: NascentGeneration,
        session: SessionId,
        plaintext: SlabRack,
        sealed: SlabRack,
        description: RepositoryDescription,
    ) -> tuple[Pipeline, Sent]:
        sent = Sent()
        asks_all = description.damaged_chunk_count > 0 or self.settings.full
        recorder = Recorder(nascent, asks_all=asks_all)
        uploads = Uploads(self.repository, self.pool, sealed, sent, session)
        # While a slab of plaintext is taken, something more to upload may come of it.
        plaintext.when_idle = uploads.flush
        sender = Sender(
            self.repository,
            self.thread,
            recorder,
            plaintext,
            uploads,
            asks=description.has_chunks is not False,
        )
        large = LargeFileReader(self.pool, self.thread, self.checksums, recorder, plaintext, sender)
        return (
            Pipeline(
                self.clock,
                self.pool,
                self.thread,
                recorder,
                plaintext,
                sender,
                large,
                self.progress,
                sent,
            ),
            sent,
        )

    def _committer(self, pipeline: Pipeline, healed: Healed) -> Committer:
        return Committer(
            self.repository,
            self.thread,
            self.keys,
            self.sealer,
            self.now_ns,
            pipeline.all_stored,
            healed.lost,
        )

    async def _checkpoint(
        self,
        committer: Committer,
        session: SessionId,
        nascent: NascentGeneration,
        base: Base | None,
        previous: Link | None,
        facts: Facts,
    ) -> Base:
        """Commit a copy of what there is so far."""
        copy = self.generations.temporary()
        try:
            return await committer.commit(session, nascent, base, previous, facts, copy)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise

    def _result(
        self,
        began_s: float,
        generation: GenerationId | None,
        scan: Scan,
        sent: Sent,
        healed: Healed,
    ) -> BackupResult:
        return BackupResult(
            generation=generation,
            entries=scan.counts.entries,
            unchanged=scan.counts.unchanged,
            sent=sent,
            warnings=self._warnings + sent.warnings,
            duration_s=self.clock.seconds() - began_s,
            healed_chunks=healed.chunks,
        )

    def _warn(self, message: str) -> None:
        self._warnings += 1
        self.progress.warn(message)


def _remove(nascent: NascentGeneration, base: Base | None) -> None:
    nascent.close()
    nascent.path.unlink(missing_ok=True)
    if base is not None:
        base.path.unlink(missing_ok=True)
