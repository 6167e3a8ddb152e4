"""The socket of the administration, from the start of the server to its end."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from obnam.wire.members import Json
from obnam_server.administration.listener import AdminSite, OperationsPage
from obnam_server.administration.place import SOCKET_NAME, socket_address
from obnam_server.store.store import Store
from obnam_server.upkeep.rounds import Rounds
from obnam_server.work import Work

log = Logger()

STOP_S = 10.0
"""How long an answer may take to be received when the server stops."""


@define(eq=False)
class AdminPort:
    """Listens in the data directory, for root and the server's own user. `open` makes it."""

    path: Path
    _site: AdminSite
    _reactor: ReactorBase
    _port: IListeningPort
    _address: ExitStack = field(factory=ExitStack)

    @classmethod
    def open(
        cls,
        store: Store,
        work: Work,
        rounds: Rounds,
        about: Callable[[], Json],
        reactor: ReactorBase,
    ) -> "AdminPort":
        """Listen. Whoever has the store open is alone, so a socket that is there is a leftover.

        ``about``: what the server says of itself. `OSError`, `CannotListenError`. Where it
        listens is ``path``, for `obnam_server.admin.listening`.
        """
        page = OperationsPage(store, work, rounds, about)
        site = AdminSite(page, frozenset({0, os.geteuid()}), reactor)
        try:
            return cls._listen(store.data / SOCKET_NAME, site, reactor)
        except CannotListenError as error:
            # Some file systems, such as those of other systems' disks and shares, have no sockets.
            log.info("The administration listens elsewhere: {error}", error=error.socketError)
            private = Path(mkdtemp(prefix="obnam-admin-"))  # mode 0700
            return cls._listen(private / SOCKET_NAME, site, reactor, private)

    @classmethod
    def _listen(
        cls, path: Path, site: AdminSite, reactor: ReactorBase, private: Path | None = None
    ) -> "AdminPort":
        path.unlink(missing_ok=True)
        # The socket exists before its mode is set.
        before = os.umask(0o077)
        try:
            with ExitStack() as stack:
                if private is not None:
                    stack.callback(private.rmdir)
                address = stack.enter_context(socket_address(path))
                port = cast(IReactorUNIX, reactor).listenUNIX(
                    address, cast(Factory[Any], site), mode=0o600
                )
                return cls(path, site, reactor, port, stack.pop_all())
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Take no more connections, and let those there are end."""
        if not self.path.is_socket():
            self.path.touch()  # Twisted removes it, and is at a loss when somebody else did
        await maybeDeferred(self._port.stopListening)
        self._address.close()
        drained = self._site.drain()
        drained.addTimeout(STOP_S, self._reactor, lambda result, _: self._site.abort())
        await drained
