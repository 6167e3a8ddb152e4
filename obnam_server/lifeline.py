"""Living only as long as the process that started this one: the embedded server of a client.

The parent passes one end of a socket pair. A line on it says that the server is ready, and the
parent may lend memory and ask for upkeep (`obnam.wire.lifeline`). Its end, however it comes (the
parent closes it, or is killed), stops the server as SIGTERM would.
"""

import os
import socket
from collections.abc import Callable, Coroutine, Sequence
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

from obnam.wire.lent import MEMORIES_MAX
from obnam.wire.lifeline import (
    LINE_MAX,
    READY,
    Lending,
    LendingAnswer,
    Upkeep,
    UpkeepAsked,
    read_asked,
)
from obnam.wire.members import BadMessage
from obnam_server.lent import LentMemories

DoUpkeep = Callable[[UpkeepAsked], Coroutine[Deferred[Any], Any, Upkeep]]

log = Logger()


@implementer(IReadDescriptor)
@define(eq=False)
class Lifeline(Service):
    """``descriptor``: the inherited socket. To be started after all that must be ready.

    ``upkeep``: what the parent may ask for; ``None``: nothing. ``lent``: what it lends; ``None``:
    it cannot.
    """

    _reactor: ReactorBase
    _descriptor: int
    _upkeep: DoUpkeep | None = None
    _lent: LentMemories | None = None
    _heard: bytes = field(default=b"", init=False)
    _asked: Deferred[None] | None = field(default=None, init=False)
    _socket: socket.socket | None = field(default=None, init=False)
    _descriptors: list[int] = field(factory=list, init=False)

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
        _close_all(self._descriptors)
        self._descriptors.clear()

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return -1 if self._socket is None else self._socket.fileno()

    def doRead(self) -> Any:  # noqa: N802
        """The parent lends memory, or asks for upkeep, once; else this is the end."""
        try:
            heard = b"" if self._socket is None else self._receive(self._socket)
        except BlockingIOError:
            return None
        except OSError as error:
            return error
        if not heard or len(self._descriptors) > MEMORIES_MAX:
            return CONNECTION_DONE
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            self._line(line)
        return None if len(self._heard) <= LINE_MAX else CONNECTION_DONE

    def _receive(self, line: socket.socket) -> bytes:
        heard, descriptors, _, _ = socket.recv_fds(
            line, LINE_MAX, MEMORIES_MAX, socket.MSG_CMSG_CLOEXEC
        )
        self._descriptors.extend(descriptors)
        return heard

    def _line(self, line: bytes) -> None:
        try:
            asked = read_asked(line)
        except BadMessage as error:
            log.error("Not understood on the lifeline: {error}", error=error)
            self._stop()
            return
        if isinstance(asked, Lending):
            self._say(LendingAnswer(self._is_taken(asked)).to_line())
        elif self._upkeep is not None and self._asked is None:
            self._asked = Deferred.fromCoroutine(self._look_after(asked, self._upkeep))

    def _is_taken(self, asked: Lending) -> bool:
        descriptors, self._descriptors = self._descriptors, []
        if self._lent is None or len(descriptors) != 1:
            # With one lost, another must not take its place.
            _close_all(descriptors)
            return False
        return self._lent.take(asked.number, descriptors[0])

    async def _look_after(self, asked: UpkeepAsked, upkeep: DoUpkeep) -> None:
        try:
            done = await upkeep(asked)
        except CancelledError:
            return  # We are being stopped, and nobody waits for an answer.
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
        """See ``ILoggingContext``."""
        return "lifeline"


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
