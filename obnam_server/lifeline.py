"""Living only as long as the process that started this one: the embedded server of a client.

The parent passes one end of a socket pair. A line on it says that the server is ready, and the
parent may ask for upkeep (`obnam.wire.lifeline`). Its end, however it comes (the parent closes it,
or is killed), stops the server as SIGTERM would.
"""

import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from obnam.wire.lifeline import LINE_MAX, READY, Upkeep, UpkeepAsked
from obnam.wire.members import BadMessage

DoUpkeep = Callable[[UpkeepAsked], Coroutine[Deferred[Any], Any, Upkeep]]

log = Logger()


@implementer(IReadDescriptor)
@define(eq=False)
class Lifeline(Service):
    """``descriptor``: the inherited socket. To be started after all that must be ready.

    ``upkeep``: what the parent may ask for; ``None``: nothing.
    """

    _reactor: ReactorBase
    _descriptor: int
    _upkeep: DoUpkeep | None = None
    _heard: bytes = field(default=b"", init=False)
    _asked: Deferred[None] | None = field(default=None, init=False)
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
        self._say(READY + b"\n")

    def _say(self, line: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.sendall(line)
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
        """The parent may ask for upkeep, once; else this is the end."""
        try:
            heard = b"" if self._socket is None else self._socket.recv(LINE_MAX)
        except BlockingIOError:
            return None
        except OSError as error:
            return error
        if not heard:
            return CONNECTION_DONE
        self._heard += heard
        line, end, _ = self._heard.partition(b"\n")
        if end and self._upkeep is not None and self._asked is None:
            self._asked = Deferred.fromCoroutine(self._look_after(line, self._upkeep))
        return None if len(self._heard) <= LINE_MAX else CONNECTION_DONE

    async def _look_after(self, line: bytes, upkeep: DoUpkeep) -> None:
        try:
            done = await upkeep(UpkeepAsked.from_line(line))
        except CancelledError:
            return  # We are being stopped, and nobody waits for an answer.
        except BadMessage as error:
            log.error("Not understood on the lifeline: {error}", error=error)
            self._stop()
        except Exception as error:
            log.failure("Upkeep failed")
            self._say(Upkeep(warnings=(f"upkeep failed: {error!r}",)).to_line())
        else:
            self._say(done.to_line())

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
