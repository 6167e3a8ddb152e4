"""A worker process: what runs in it, from its start to its end."""

import os
import socket
from collections.abc import Sequence
from typing import Any, cast

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.logger import Logger

from obnam.errors import ObnamError
from obnam.transport.bulk_tls import BulkTlsFactory
from obnam_server.config import Settings
from obnam_server.reload import ServedCertificate, read_anew
from obnam_server.sockets import WORKERS_SOCKET_NAME
from obnam_server.tls import certificate_files, server_options
from obnam_server.work import Work
from obnam_server.workers.channel import Carriage, WorkerSite
from obnam_server.workers.report import report_reloaded
from obnam_server.workers.request import WorkerRequest

log = Logger()

STOP_S = 10.0
"""How long requests that are under way may go on when the worker is stopped."""


@define(eq=False)
class WorkerService(Service):
    """Carries for the owner. ``descriptors``: the listening sockets, inherited."""

    _settings: Settings
    _reactor: ReactorBase
    _descriptors: Sequence[int]
    _work: Work = field(init=False)
    _site: WorkerSite = field(init=False)
    _certificate: ServedCertificate = field(init=False)
    _ports: list[IListeningPort] = field(init=False, factory=list)

    def startService(self) -> None:
        """Listen. Raises `ConfigurationError` when the certificate cannot be used; `NoThread`."""
        super().startService()
        self._work = Work(self._reactor)
        files = certificate_files(self._settings)
        self._certificate = ServedCertificate(server_options(self._settings, files))
        data = self._settings.data_directory
        self._site = WorkerSite(
            Carriage(data, data / WORKERS_SOCKET_NAME, self._work, self._reactor), WorkerRequest
        )
        for descriptor in self._descriptors:
            self._listen(descriptor)
        # Last of what can fail: a process that is to end waits for its threads.
        self._work.start()

    def _listen(self, descriptor: int) -> None:
        with socket.socket(fileno=os.dup(descriptor)) as inherited:
            family = inherited.family
        factory: Any = BulkTlsFactory(self._certificate, False, self._site, self._reactor)
        port = cast(IReactorSocket, self._reactor).adoptStreamPort(descriptor, family, factory)
        os.close(descriptor)
        self._ports.append(port)

    def reload(self) -> None:
        """Read the certificate anew. The owner has found it good, and says what has changed."""
        Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> None:
        await self._read_anew()
        report_reloaded()

    async def _read_anew(self) -> None:
        try:
            found = await self._work.read(read_anew, self._settings, True)
        except ObnamError as error:
            log.error("Not reloaded: {error}", error=error)
            return
        except Exception:
            log.failure("Not reloaded")
            return
        self._settings = found.settings
        if found.options is not None:
            self._certificate.options = found.options
            log.info("The certificate is read anew")

    def stopService(self) -> "Deferred[None]":
        """Take no new connections, finish the requests under way."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        drained = self._site.drain()
        drained.addTimeout(STOP_S, self._reactor, lambda result, _: self._site.abort())
        await drained
        await self._work.idle()
        self._work.stop()
