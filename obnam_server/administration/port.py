"""The socket of the administration, from the start of the server to its end."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from attrs import define
from twisted.internet.base import ReactorBase
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from obnam.wire.members import Json
from obnam_server.administration.listener import AdminSite, OperationsPage
from obnam_server.ports import PrivateSocket
from obnam_server.sockets import ADMIN_SOCKET_NAME
from obnam_server.store.store import Store
from obnam_server.upkeep.rounds import Rounds
from obnam_server.work import Work

log = Logger()

STOP_S = 10.0
"""How long an answer may take to be received when the server stops."""


@define(eq=False)
class AdminPort:
    """Listens in the data directory, for root and the server's own user. `open` makes it."""

    _site: AdminSite
    _reactor: ReactorBase
    _socket: PrivateSocket
    _private: Path | None = None

    @property
    def path(self) -> Path:
        """Where it listens, for `obnam_server.listening`."""
        return self._socket.path

    @classmethod
    def open(
        cls,
        store: Store,
        work: Work,
        rounds: Rounds,
        about: Callable[[], Json],
        reactor: ReactorBase,
    ) -> "AdminPort":
        """Listen. ``about``: what the server says of itself. `OSError`, `CannotListenError`."""
        page = OperationsPage(store, work, rounds, about)
        site = AdminSite(page, frozenset({0, os.geteuid()}), reactor)
        try:
            found = PrivateSocket.open(store.data / ADMIN_SOCKET_NAME, site, reactor)
            return cls(site, reactor, found)
        except CannotListenError as error:
            log.info("The administration listens elsewhere: {error}", error=error.socketError)
        private = Path(mkdtemp(prefix="obnam-admin-"))  # mode 0700
        try:
            found = PrivateSocket.open(private / ADMIN_SOCKET_NAME, site, reactor)
        except BaseException:
            private.rmdir()
            raise
        return cls(site, reactor, found, private)

    async def close(self) -> None:
        """Take no more connections, and let those there are end."""
        await self._socket.close()
        if self._private is not None:
            self._private.rmdir()
        drained = self._site.drain()
        drained.addTimeout(STOP_S, self._reactor, lambda result, _: self._site.abort())
        await drained
