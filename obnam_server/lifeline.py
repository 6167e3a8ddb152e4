"""Living only as long as the process that started this one: the embedded server of a client.

The parent passes one end of a socket pair. A line on it says that the server is ready; its end,
however it comes (the parent closes it, or is killed), stops the server as SIGTERM would.
"""

import socket
from typing import Any, cast

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from zope.interface import implementer

READY = b"ready\n"


@implementer(IReadDescriptor)
@define(eq=False)
class Lifeline(Service):
    """``descriptor``: the inherited socket. To be started after all that must be ready."""

    _reactor: ReactorBase
    _descriptor: int
    _socket: socket.socket | None = field(default=None, init=False)

    def startService(self) -> None:  # noqa: N802
        """Watch the parent. ``OSError``: it is no socket."""
        super().startService()
        self._socket = socket.socket(fileno=self._descriptor)
        self._socket.setblocking(False)
        cast(IReactorFDSet, self._reactor).addReader(self)
        self._reactor.callWhenRunning(self._announce)

    def _announce(self) -> None:
        """Tell the parent that the server is ready; like `ServerService` does, and after it."""
        if self._socket is not None:
            try:
                self._socket.sendall(READY)
            except OSError:
                self._stop()  # the parent is gone already

    def stopService(self) -> None:  # noqa: N802
        """Let go."""
        super().stopService()
        if self._socket is not None:
            cast(IReactorFDSet, self._reactor).removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return -1 if self._socket is None else self._socket.fileno()

    def doRead(self) -> Any:  # noqa: N802
        """The parent says nothing; so this is the end, or nothing at all."""
        try:
            heard = b"" if self._socket is None else self._socket.recv(1024)
        except BlockingIOError:
            return None
        except OSError as error:
            return error
        return None if heard else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The parent is gone: stop the server."""
        self._stop()

    def _stop(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # a signal was faster

    def logPrefix(self) -> str:  # noqa: N802
        """See `ILoggingContext`."""
        return "lifeline"
