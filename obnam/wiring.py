"""The composition root: settings, credentials and a reactor become the objects of a command."""

import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.internet.base import ReactorBase

from obnam.config import Places, Settings
from obnam.credentials import Credentials
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Sealer, best_suite
from obnam.errors import ConfigurationError
from obnam.model.ids import GenerationId
from obnam.pool.thread import OwnThread
from obnam.progress import IProgress
from obnam.repository import tls
from obnam.repository.cache import GenerationCache, cache_directory
from obnam.repository.connect import Connections, tls_exchange
from obnam.repository.exchange import Exchange
from obnam.repository.generations import Generations
from obnam.repository.http import HttpRepository
from obnam.repository.retry import Retried, RetryingRepository, RetryPolicy
from obnam.repository.rotation import accepted
from obnam.repository.state import state_file
from obnam.wire.interfaces import IRepository

if TYPE_CHECKING:
    from obnam.backup.run import Backup
    from obnam.browse.standing import Standing
    from obnam.live.read import Identity
    from obnam.pool.growing import GrowingPool
    from obnam.repository.embedded import EmbeddedServer
    from obnam.repository.slots import Slots
    from obnam.restore.run import Restore
    from obnam.restore.settings import RestoreSettings
    from obnam.verify.run import Verify
    from obnam.verify.settings import VerifySettings

PATIENT = RetryPolicy()
"""For what runs unattended, and would have to begin again: outlives a restart of the server."""

BRIEF = RetryPolicy(total_s=5.0, busy_total_s=30.0, counts_silence=True)
"""For somebody who waits for an answer."""


@frozen
class Surroundings:
    """What every command works in."""

    reactor: ReactorBase
    places: Places
    progress: IProgress


@define
class Client:
    """What this computer works with, once its repository can be reached. `close` it."""

    surroundings: Surroundings
    settings: Settings
    credentials: Credentials
    keys: RepositoryKeys
    repository: IRepository
    generations: Generations
    thread: OwnThread
    _closing: list[Callable[[], None]] = field(factory=list)
    _pool: "GrowingPool | None" = field(init=False, default=None)

    def pool(self) -> "GrowingPool":
        """Worker processes; they are started when there is much work, or by `expect_jobs`."""
        from obnam.pool.growing import GrowingPool
        from obnam.pool.pool import ProcessPool
        from obnam.pool.worker import Tools

        if self._pool is None:
            reactor = self.surroundings.reactor
            made_from = self.keys, best_suite(), self.settings.compression
            workers = ProcessPool(reactor, self.settings.workers, *made_from)
            self._pool = GrowingPool(reactor, Tools(*made_from), workers)
            self._closing.append(self._pool.close)
        return self._pool

    def expect_jobs(self) -> None:
        """There will be work for workers: start them while the server is asked what it is."""
        self.pool().start()

    def own_thread(self, name: str) -> OwnThread:
        """One more thread, ended by `close`."""
        thread = OwnThread(self.surroundings.reactor, name)
        self._closing.append(thread.close)
        return thread

    def slots(self, label: str | None = None) -> "Slots":
        """The keyring; new slots get the label, or the client's name."""
        return slots_of(self.repository, self.thread, label or self.credentials.client)

    async def standing(self) -> "Standing":
        """What the server says of this client, and whether that fits what is remembered."""
        from obnam.browse.standing import ask

        location = self.credentials.location
        where = self.settings.server_url or location.url or str(location.directory)
        return await ask(where, self.repository, self.generations, time.time_ns())

    def backup(self, *, full: bool) -> "Backup":
        """One backup, ready to run."""
        from obnam.backup.run import Backup
        from obnam.backup.scan import ScanSettings

        if not self.settings.roots:
            path = self.surroundings.places.configuration
            problem = (
                'name at least one directory to back up (your home directory is "~", in quotes)'
            )
            raise ConfigurationError(str(path), f"roots: {problem}")
        own_directory = self._own_directory()
        return Backup(
            clock=self.surroundings.reactor,
            now_ns=time.time_ns,
            repository=self.repository,
            generations=self.generations,
            keys=self.keys,
            sealer=Sealer(self.keys, best_suite(), self.settings.compression),
            pool=self.pool(),
            thread=self.thread,
            checksums=self.own_thread("checksums"),
            progress=self.surroundings.progress,
            settings=ScanSettings(
                roots=self.settings.roots,
                full=full,
                skip_cache_directories=self.settings.exclude_cache_tag_directories,
                left_out=own_directory,
            ),
        )

    def _own_directory(self) -> "frozenset[Identity]":
        """The repository's directory, which must not be backed up into itself."""
        from obnam.live.read import identity_of

        directory = self.credentials.location.directory
        if directory is None or not directory.is_dir():
            return frozenset()
        status = directory.stat()
        for root in self.settings.roots:
            live = Path(os.fsdecode(root))
            within = directory.resolve().is_relative_to(live.resolve())
            if within and live.stat().st_dev == status.st_dev:
                problem = (
                    f"roots: the repository's directory {directory} lies in {live}, and would be "
                    f"lost together with it; move it to another disk, or name other roots"
                )
                raise ConfigurationError(str(self.surroundings.places.configuration), problem)
        return frozenset({identity_of(status)})

    async def estimate_backup(self, is_over: Callable[[], bool]) -> None:
        """Tell the progress about how much a backup will read. For who looks at a display only."""
        from obnam.live.estimate import estimate_bytes

        latest = (await self.repository.describe()).latest
        since_ns = 0
        if latest is not None:
            since_ns = self.generations.open(latest).manifest.started_ns
        thread = self.own_thread("estimate")
        size = await thread.call(estimate_bytes, self.settings.roots, since_ns, is_over)
        if size is not None:
            self.surroundings.progress.estimate(size)

    async def estimate_restore(self, generation: GenerationId) -> None:
        """Tell the progress how much a whole generation holds."""
        counts = (await self.generations.get(generation)).manifest.counts
        size = counts.get("unchanged_bytes", 0) + counts.get("read_bytes", 0)
        self.surroundings.progress.estimate(size)

    def restore(self, settings: "RestoreSettings") -> "Restore":
        """One restore, ready to run."""
        from obnam.restore.run import Restore

        return Restore(
            clock=self.surroundings.reactor,
            repository=self.repository,
            generations=self.generations,
            pool=self.pool(),
            thread=self.thread,
            progress=self.surroundings.progress,
            settings=settings,
        )

    def verify(self, settings: "VerifySettings") -> "Verify":
        """One verification, ready to run."""
        from obnam.verify.run import Verify

        return Verify(
            clock=self.surroundings.reactor,
            repository=self.repository,
            generations=self.generations,
            pool=self.pool(),
            thread=self.thread,
            checksums=self.own_thread("checksums"),
            random=random.random,
            progress=self.surroundings.progress,
            settings=settings,
        )

    async def close(self) -> None:
        """End connections, workers and threads."""
        try:
            await self.repository.close()
        finally:
            for close in reversed(self._closing):
                close()


def slots_of(repository: IRepository, thread: OwnThread, label: str) -> "Slots":
    """The keyring of a repository. New slots get the label, and cost MODERATE to try."""
    from obnam.crypto.keyring import MODERATE  # slow to import, and seldom needed
    from obnam.repository.slots import Slots

    return Slots(repository, thread, label, MODERATE)


async def open_client(
    surroundings: Surroundings,
    settings: Settings,
    credentials: Credentials,
    policy: RetryPolicy,
    embedded: "EmbeddedServer | None" = None,
) -> Client:
    """Compose a client. ``embedded``: the server of a repository in a directory, begun."""
    keys = RepositoryKeys.derive(credentials.master)
    places = surroundings.places
    if embedded is None:

        def open_with(token: str) -> IRepository:
            found = HttpRepository(*over_tls(surroundings, settings, credentials, token))
            return retrying(surroundings, found, policy)

        if credentials.next_token is not None:
            surroundings.progress.warn(
                "the change of the token was interrupted; `obnam key rotate-token` ends it"
            )
        repository = await accepted(open_with, credentials.tokens)
    else:
        from obnam.repository.directory import reach  # of no use to who has a server

        await embedded.until_ready()
        client, token, master = credentials.client, credentials.token, credentials.master
        reached = await reach(
            surroundings.reactor, embedded, client, credentials.repository, token, master
        )
        repository = retrying(surroundings, reached, policy)
    thread = OwnThread(surroundings.reactor, "generation")
    generations = Generations(
        repository,
        keys,
        GenerationCache(
            cache_directory(places.cache_home, keys.fingerprint),
            settings.cache_max_bytes,
            time.time,
        ),
        state_file(places.state_home, keys.fingerprint),
        thread,
        credentials.server_key,
        credentials.client,
    )
    return Client(
        surroundings,
        settings,
        credentials,
        keys,
        repository,
        generations,
        thread,
        [thread.close],
    )


def over_tls(
    surroundings: Surroundings, settings: Settings, credentials: Credentials, token: str
) -> tuple[Exchange, Callable[[], Awaitable[None]]]:
    """The way to the server with one token, and what closes it."""
    location = credentials.location
    source = str(surroundings.places.secrets)
    url = settings.server_url or tls.check_url(source, location.url or "")
    try:
        pin = None if location.pin is None else tls.parse_pin(location.pin)
    except ValueError as error:
        raise ConfigurationError(source, f"pin: {error}") from error
    trust = tls.Trust(pin, settings.trusted_certificates)
    connections = Connections.none_yet(surroundings.reactor)
    return tls_exchange(connections, url, token, trust), connections.close


def retrying(
    surroundings: Surroundings, repository: IRepository, policy: RetryPolicy
) -> RetryingRepository:
    """The same, trying again; the user is told of it."""

    def report(retried: Retried) -> None:
        surroundings.progress.warn(f"{retried.error}; trying again in {retried.wait_s:.1f} s")

    return RetryingRepository(repository, surroundings.reactor, random.random, report, policy)
