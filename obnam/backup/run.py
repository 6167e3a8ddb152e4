"""The whole order of a backup, on one screen."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from obnam.backup.ahead import ScanAhead
from obnam.backup.commit import Base, Committer, Facts
from obnam.backup.heal import Healed, Healer
from obnam.backup.large import LargeFileReader
from obnam.backup.meanwhile import Meanwhile
from obnam.backup.pipeline import (
    PLAINTEXT_SLAB_BYTES,
    PLAINTEXT_SLABS,
    SEALED_SLABS,
    Pipeline,
)
from obnam.backup.record import Recorder
from obnam.backup.scan import Scan, ScanCounts, ScanSettings
from obnam.backup.sender import Sender
from obnam.backup.uploads import SEALED_SLAB_BYTES, Sent, Uploads
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Sealer
from obnam.errors import (
    ChunksMissing,
    ConfigurationError,
    DamagedGeneration,
    ManifestLost,
)
from obnam.generation.nascent import NascentGeneration
from obnam.history_errors import BadReceipt
from obnam.model.entry import printable
from obnam.model.ids import GenerationId, SessionId
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.thread import OwnThread
from obnam.progress import IProgress
from obnam.repository.generations import Generations
from obnam.repository.opening import OpenedGeneration
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
    _warnings: int = field(init=False, default=0)

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
        description, latest, previous = await self._previous()
        base = None if anew else await self._base(latest)
        try:
            nascent = await self._nascent(previous, base)
        except BaseException:
            if base is not None:
                base.path.unlink(missing_ok=True)
            raise
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
                healed = await self._healer().heal(session, base, nascent)
            scan = self._scan(nascent, base)
            pipeline, sent = self._pipeline(nascent, session, *racks, description)
            committer = Committer(
                self.repository,
                self.thread,
                self.keys,
                self.sealer,
                self.now_ns,
                pipeline.all_stored,
                healed.lost,
            )
            facts = Facts(description.client, self.settings.roots, started_ns)
            batches = ScanAhead(self.thread, scan.batches())
            self.progress.stage("backup")
            while not await pipeline.run(batches, self.clock.seconds() + self.checkpoint_s):
                copy = self.generations.temporary()
                partial = facts.counted(scan.counts, sent, partial=True)
                with _removed_if_it_fails(copy):
                    new = await committer.commit(session, nascent, base, previous, partial, copy)
                base = await self._kept(base, new)
                previous = base.opened.shown().link
                session = await self._begin(base)
                pipeline.go_on_in(session)
            self.pool.rest()
            self.progress.stage("commit")
            for path in await self.thread.call(nascent.settle):
                self._warn(f"{printable(path)}: vanished while it was read")
            self._report(scan.counts)
            final = facts.counted(scan.counts, sent, partial=False)
            base = await self._kept(
                base, await committer.commit(session, nascent, base, previous, final)
            )
            near = quota_warning(description, sent.sent_bytes)
            if near is not None:
                # Nothing is wrong with this backup: it does not count as a warning of it.
                self.progress.warn(near)
            return BackupResult(
                generation=base.opened.manifest.generation,
                entries=scan.counts.entries,
                unchanged=scan.counts.unchanged,
                sent=sent,
                warnings=self._warnings + sent.warnings,
                duration_s=self.clock.seconds() - began_s,
                healed_chunks=healed.chunks,
            )
        finally:
            if pipeline is not None:
                await pipeline.stop()
            for rack in racks:
                rack.close()
            await self.thread.call(_remove, nascent, base)

    async def dry_run(self) -> BackupResult:
        """Scan, and say what would be read; nothing is written on the server."""
        began_s = self.clock.seconds()
        _, latest, previous = await self._previous()
        base = await self._base(latest)
        nascent = await self._nascent(previous, base)
        try:
            scan = self._scan(nascent, base)
            batches = scan.batches()
            sent = Sent()
            while (batch := await self.thread.call(next, batches, None)) is not None:
                sent.files += batch.file_count
                sent.read_bytes += batch.size_bytes
            self._report(scan.counts)
            return BackupResult(
                generation=None,
                entries=scan.counts.entries,
                unchanged=scan.counts.unchanged,
                sent=sent,
                warnings=self._warnings,
                duration_s=self.clock.seconds() - began_s,
            )
        finally:
            await self.thread.call(_remove, nascent, base)

    async def _previous(
        self,
    ) -> tuple[RepositoryDescription, OpenedGeneration | None, Link | None]:
        """What the server says of us, our latest generation, and the link that the new one gets.

        A latest one whose manifest is lost is followed all the same, if it is the one that is
        remembered here: then there is a link to it, and nothing to begin from.
        """
        description = await self.repository.describe()
        await self.generations.history.meet(description)
        client, committed = description.client, description.latest
        if committed is None:
            latest = None
        else:
            try:
                latest = self.generations.open(committed)
            except ManifestLost as error:
                remembered = await self.generations.history.remembered(client)
                if remembered is None or remembered.generation != error.generation:
                    problem = (
                        f"{error.problem}; no backup can come after it. Have this computer invited "
                        f"under another name, into the same repository, and join again"
                    )
                    raise DamagedGeneration(error.generation, problem) from error
                self._warn(f"{error}; all files are read again")
                return description, None, remembered
        for warning in await self.generations.history.check(description, latest):
            self._warn(warning)
        if self.generations.history.unwritten is not None:
            raise self.generations.history.unwritten
        return description, latest, None if latest is None else latest.shown().link

    async def _base(self, latest: OpenedGeneration | None) -> Base | None:
        """The latest generation with its database; ``None``: start with nothing."""
        if latest is None:
            return None
        try:
            return Base(latest, await self.generations.database(latest))
        except DamagedGeneration as error:
            self._warn(f"{error}; all files are read again")
            return None

    async def _nascent(self, previous: Link | None, base: Base | None) -> NascentGeneration:
        path = self.generations.temporary()
        sequence = 1 if previous is None else previous.sequence + 1
        if base is None:
            return await self.thread.call(NascentGeneration.create, path, sequence)
        await self.thread.call(shutil.copyfile, base.path, path)
        return await self.thread.call(NascentGeneration.begin_from, path, sequence)

    def _healer(self) -> Healer:
        return Healer(self.repository, self.thread, self.keys, self.sealer)

    def _scan(self, nascent: NascentGeneration, base: Base | None) -> Scan:
        # Where a checkpoint ended, nothing is known of what lies behind it.
        before = None if base is None else base.opened.manifest
        when = None if before is None else Meanwhile.between(before.started_ns, before.ended_ns)
        return Scan(
            nascent,
            self.settings,
            PLAINTEXT_SLAB_BYTES,
            first=before is None or before.partial,
            meanwhile=when,
        )

    async def _begin(self, base: Base | None) -> SessionId:
        generation = None if base is None else base.opened.manifest.generation
        return await self.repository.begin_session(generation)

    async def _kept(self, old: Base | None, new: Base) -> Base:
        """Remember what was committed; its database is cached for the next backup.

        It is on the server, whatever goes wrong here: that is no failure any more. But a server
        that does not vouch for it cannot be relied on: ``BadReceipt``.
        """
        manifest = new.opened.manifest
        history = self.generations.history
        try:
            await history.remember(manifest.client, new.opened.shown().link)
            await history.keep_receipt(new.opened)
            await self.generations.keep(manifest.generation, new.path)
        except (OSError, ConfigurationError) as error:
            name = manifest.generation
            problem = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            self._warn(f"generation {name} is committed, but not noted here: {problem}")
        except BadReceipt:
            new.path.unlink(missing_ok=True)
            raise
        if old is not None:
            old.path.unlink(missing_ok=True)
        return new

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
            asks=description.used_bytes > 0,
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

    def _report(self, counts: ScanCounts) -> None:
        for warning in counts.warnings:
            self._warn(warning)

    def _warn(self, message: str) -> None:
        self._warnings += 1
        self.progress.warn(message)


@contextmanager
def _removed_if_it_fails(file: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _remove(nascent: NascentGeneration, base: Base | None) -> None:
    nascent.close()
    nascent.path.unlink(missing_ok=True)
    if base is not None:
        base.path.unlink(missing_ok=True)
