"""The running server: opens the store, listens, and on stop finishes what is under way."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.web.server import Site

from obnam.errors import ObnamError
from obnam.wire.lifeline import Upkeep, UpkeepAsked
from obnam.wire.limits import SILENCE_S
from obnam_server.administration.about import about
from obnam_server.administration.port import AdminPort
from obnam_server.api import Api
from obnam_server.auth import Gate
from obnam_server.channel import ApiChannel
from obnam_server.config import Settings
from obnam_server.lent import LentMemories
from obnam_server.listening import remove_listening, write_listening
from obnam_server.monitoring.events import Events
from obnam_server.monitoring.gauges import UpkeepFigures
from obnam_server.monitoring.metrics import Counters, MetricsPage
from obnam_server.monitoring.observing import Observation, webhooks_of
from obnam_server.ports import listen_on, stop_listening
from obnam_server.reload import ServedCertificate, read_anew
from obnam_server.room import Room
from obnam_server.services import Repositories, Services
from obnam_server.sharing.failures import Failures
from obnam_server.sharing.queues import Queues
from obnam_server.site import ApiSite
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.tls import certificate_files, problem_of_dates, server_options
from obnam_server.upkeep.anomaly import judge
from obnam_server.upkeep.brief import BriefUpkeep
from obnam_server.upkeep.compact import Compacted, compact
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.retain import retain
from obnam_server.upkeep.rounds import Rounds, Task
from obnam_server.upkeep.scrub import Scrubbed, scrub_portion
from obnam_server.work import Work
from obnam_server.workers.owner import Workers

log = Logger()

STOP_S = 10.0
"""How long requests that are under way may go on when the server is stopped."""


@define(eq=False)
class ServerService(Service):
    """Everything of one server. ``now_ns``: ns since the epoch.

    ``lent``: memory of the client that an embedded server belongs to.
    """

    _settings: Settings
    _reactor: ReactorBase
    _now_ns: Callable[[], int]
    _lent: LentMemories | None = None
    _ports: list[IListeningPort] = field(factory=list)
    _work: Work = field(init=False)
    _store: Store = field(init=False)
    _site: ApiSite = field(init=False)
    _rounds: Rounds = field(init=False)
    _admin: AdminPort = field(init=False)
    _certificate: ServedCertificate | None = field(init=False, default=None)
    _reloading: Deferred[None] | None = field(init=False, default=None)
    _reload_again: bool = field(init=False, default=False)
    _events: Events = field(init=False)
    _upkeep: UpkeepFigures = field(init=False, factory=UpkeepFigures)
    _observation: Observation = field(init=False)
    _workers: Workers | None = field(init=False, default=None)

    def startService(self) -> None:
        """Open the store and listen. Blocks meanwhile: nothing is served before that anyway.

        Raises the store's errors, `ConfigurationError` when the certificate cannot be used,
        `CannotListen`, and `NoThread`.
        """
        super().startService()
        self._store = Store.open(self._settings.data_directory, self._now_ns, judge=judge)
        if self._store.repositories() and not self._store.clients.list():
            log.warn(
                "There are repositories and no clients: if server.sqlite was lost, put back a copy "
                "of it, or invite every client again"
            )
        self._work = Work(self._reactor)
        api, services = self._wire()
        self._site = ApiSite(api.app.resource(), services, self._reactor)
        if self._settings.workers:
            self._workers = Workers.open(self._settings, api, services, self._reactor)
        self._rounds = self._wire_upkeep()
        addresses = self._listen(self._settings.listen, self._encrypted)
        if self._workers is not None:
            self._workers.take_over(self._ports)
        if self._settings.metrics_listen is not None:
            site = Site(MetricsPage(services.counters), timeout=SILENCE_S, reactor=self._reactor)
            self._listen((self._settings.metrics_listen,), lambda _: site)
        self._observation = self._wire_observation(services)
        if self._settings.upkeep_every_minutes:
            self._rounds.start()
        started_ns = self._now_ns()
        self._admin = AdminPort.open(
            self._store,
            self._work,
            self._rounds,
            lambda: about(
                services, self._channels(), addresses, started_ns, services.counters.workers()
            ),
            self._reactor,
        )
        # Last of what can fail: a process that is to end waits for its threads.
        self._work.start()
        self._work.background(self._store.remove_gone).addErrback(
            lambda failure: log.failure("Destroyed repositories were not removed", failure=failure)
        )
        self._work.write(self._store.reserve.keep).addErrback(
            lambda failure: log.failure("There is no reserve", failure=failure)
        )
        # Not before a SIGTERM would be answered by `stopService`.
        self._reactor.callWhenRunning(self._announce, addresses)

    def _announce(self, addresses: list[str]) -> None:
        """Tell whoever started us that we can be used now."""
        write_listening(self._settings.data_directory, addresses, str(self._admin.path))
        log.info("obnam-server listens on {addresses}", addresses=" ".join(addresses))

    async def upkeep(self, asked: UpkeepAsked) -> Upkeep:
        """What the one client of an embedded server has it do before it ends."""
        brief = BriefUpkeep(self._store, self._work, self._rounds, self._reactor, self._now_ns)
        return await brief.run(asked)

    def reload(self) -> None:
        """Read configuration and certificate anew. What cannot be used is logged, and not used."""
        if self._reloading is not None:
            self._reload_again = True
            return
        self._reloading = Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> None:
        self._reload_again = False
        try:
            found = await self._work.read(read_anew, self._settings, self._certificate is not None)
        except ObnamError as error:
            log.error("Not reloaded, the settings stay as they were: {error}", error=error)
        except Exception:
            log.failure("Not reloaded, the settings stay as they were")
        else:
            self._settings = found.settings
            if self._certificate is not None and found.options is not None:
                self._certificate.options = found.options
                files = certificate_files(self._settings)
                self._tell_of_dates(await self._work.read(problem_of_dates, files, self._now_ns()))
                if self._workers is not None:
                    await self._workers.reload()
            await self._work.write(
                self._store.audit.note, "reload", details={"changed": list(found.changed)}
            )
            log.info(
                "Reloaded the certificate and {changed}; needs a restart: {need_restart}",
                changed=", ".join(found.changed) or "no changed setting",
                need_restart=", ".join(found.need_restart) or "nothing",
            )
        self._reloading = None
        if self._reload_again:
            self.reload()

    def _tell_of_dates(self, problem: str | None) -> None:
        if problem is not None:
            log.warn("The certificate {problem}", problem=problem)

    async def _stop(self) -> None:
        try:
            await self._finish()
        except Exception:
            log.failure("obnam-server has not stopped well")
        else:
            log.info("obnam-server has stopped")
        finally:
            # Whatever went wrong: else the process would wait for them, for ever.
            self._work.stop()

    async def _finish(self) -> None:
        self._store.end_soon()
        for port in self._ports:
            await stop_listening(port)
        remove_listening(self._settings.data_directory)
        await self._rounds.stop()
        await self._observation.stop_looking()
        if self._workers is not None:
            await self._workers.stop()
        drained = self._site.drain()
        drained.addTimeout(STOP_S, self._reactor, lambda result, _: self._site.abort())
        await drained
        await self._work.idle()
        await self._admin.close()
        await self._work.idle()
        await self._observation.stop()
        await self._work.write(self._store.close)

    def stopService(self) -> "Deferred[None]":
        """Take no new requests, finish those under way, close the store."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _wire(self) -> tuple[Api, Services]:
        counters = Counters()
        gate = Gate(self._store.clients, self._work, Failures(self._reactor.seconds))
        self._events = Events(self._now_ns)
        api = Api(
            self._store, self._work, gate, counters, self._events, self._reactor, self._now_ns
        )
        services = Services(
            url_map=api.app.url_map,
            routes=api.routes,
            gate=gate,
            repositories=Repositories(self._store, self._work),
            work=self._work,
            clock=self._reactor,
            counters=counters,
            queues=Queues.empty(self._reactor),
            room=Room(self._store.settings, self._work, self._events),
            lent=self._lent,
        )
        return api, services

    def _wire_observation(self, services: Services) -> Observation:
        services.counters.connections = lambda: len(self._channels())
        services.counters.workers = lambda: [] if self._workers is None else self._workers.pids
        services.counters.uploads = lambda: len(services.queues.uploads)
        webhooks = webhooks_of(
            self._settings.webhooks,
            self._settings.data_directory,
            self._work,
            self._reactor,
            self._now_ns,
        )
        return Observation.begin(
            self._store,
            self._work,
            self._events,
            services.counters,
            self._upkeep,
            self._rounds.states,
            webhooks,
            self._reactor,
            self._now_ns,
        )

    def _wire_upkeep(self) -> Rounds:
        async def apply_retention(repository: RepositoryStore, pace: Pace) -> None:
            await retain(repository, self._work, self._now_ns())

        async def collect_and_compact(repository: RepositoryStore, pace: Pace) -> None:
            progress = self._upkeep.compactions[repository.name] = Compacted()
            await compact(repository, self._work, pace, self._now_ns(), progress)

        every_s = self._settings.upkeep_every_minutes * 60.0

        async def scrub(repository: RepositoryStore, pace: Pace) -> None:
            await scrub_portion(
                repository, self._work, pace, self._now_ns(), Scrubbed(), every_s=every_s
            )

        pace = Pace(
            self._reactor,
            self._settings.upkeep_bytes_per_second,
            lambda: any(channel.busy for channel in self._channels()),
        )
        return Rounds(
            self._store,
            self._work,
            self._reactor,
            self._now_ns,
            pace,
            every_s,
            (
                Task("retention", apply_retention),
                Task("compaction", collect_and_compact),
                Task("scrub", scrub),
            ),
        )

    def _channels(self) -> list[ApiChannel]:
        """All connections of clients, workers' included."""
        through_workers = [] if self._workers is None else self._workers.site.channels
        return [*self._site.channels, *through_workers]

    def _encrypted(self, endpoint: str) -> IProtocolFactory:
        """TLS on every endpoint but Unix sockets, which only their owner can open."""
        if endpoint.startswith("unix:"):
            return self._site
        # Only now: an embedded server, on a Unix socket, starts without OpenSSL.
        from obnam.transport.bulk_tls import BulkTlsFactory

        if self._certificate is None:
            files = certificate_files(self._settings)
            self._certificate = ServedCertificate(server_options(self._settings, files))
            self._tell_of_dates(problem_of_dates(files, self._now_ns()))
        return BulkTlsFactory(self._certificate, False, self._site, self._reactor)

    def _listen(
        self, endpoints: Sequence[str], factory_for: Callable[[str], IProtocolFactory]
    ) -> list[str]:
        """Listen, and say where: ``https://HOST:PORT`` or ``unix:PATH``."""
        addresses = []
        for text in endpoints:
            port = listen_on(self._reactor, text, factory_for(text))
            self._ports.append(port)
            address: Any = port.getHost()
            if isinstance(address, UNIXAddress):
                addresses.append(f"unix:{os.fsdecode(address.name or b'')}")
            else:
                host = f"[{address.host}]" if ":" in address.host else address.host
                addresses.append(f"https://{host}:{address.port}")
        return addresses
