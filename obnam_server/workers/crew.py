"""The worker processes, as the owner sees them: begun, watched, begun again, ended.

A worker that ends by itself takes with it the connections that it had, and no more: their clients
try again, and meet another worker.
"""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from obnam_server.workers.report import DESCRIPTOR

log = Logger()

AGAIN_S = 1.0
"""How long after its end a worker is begun anew; twice as long each time, up to `AGAIN_MAX_S`."""

AGAIN_MAX_S = 60.0

STEADY_S = 60.0
"""One that has lived so long had no trouble in starting."""

STOP_S = 30.0
"""A worker that has not ended by then is killed."""

RELOAD_S = 10.0
"""How long a worker's report that it has read the certificate anew is waited for."""

_LIFELINE = 3
"""Descriptor in the worker; that of its reports and the listening sockets follow."""


@define(eq=False)
class Crew:
    """``count`` workers, which share the listening sockets ``descriptors``."""

    _reactor: ReactorBase
    _configuration: Path
    _descriptors: Sequence[int]
    _count: int
    _workers: list["Worker"] = field(init=False, factory=list)

    def start(self) -> None:
        """Begin them, once the reactor runs."""
        for number in range(1, self._count + 1):
            worker = Worker(self._reactor, number, self._configuration, self._descriptors)
            self._workers.append(worker)
            worker.start()

    async def reload(self) -> None:
        """Have them read the certificate anew; returns when all have."""
        await DeferredList([worker.reload() for worker in self._workers])

    @property
    def pids(self) -> list[int]:
        """Those that run."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def stop(self) -> None:
        """Have them finish what is under way; returns when all have ended."""
        await DeferredList([worker.stop() for worker in self._workers])


@define(eq=False)
class Worker(ProcessProtocol):
    """One of them, with all its lives."""

    _reactor: ReactorBase
    _number: int
    _configuration: Path
    _descriptors: Sequence[int]
    _lifeline: socket.socket | None = field(init=False, default=None)
    _began_s: float = field(init=False, default=0.0)
    _again_s: float = field(init=False, default=AGAIN_S)
    _again: IDelayedCall | None = field(init=False, default=None)
    _ended: Deferred[None] | None = field(init=False, default=None)
    _reloaded: Deferred[None] | None = field(init=False, default=None)
    _stopping: bool = field(init=False, default=False)
    _said: bytes = field(init=False, default=b"")

    @property
    def pid(self) -> int | None:
        """Its process; ``None``: it has none just now."""
        return None if self.transport is None else cast(Any, self.transport).pid

    def start(self) -> None:
        """Begin a process."""
        self._again = None
        self._began_s = cast(Any, self._reactor).seconds()
        ours, theirs = socket.socketpair()
        inherited = range(DESCRIPTOR + 1, DESCRIPTOR + 1 + len(self._descriptors))
        command = [
            *(sys.executable, "-P", "-m", "twisted", "--log-format", "text"),
            *("obnam-server", "--config", str(self._configuration)),
            f"--lifeline={_LIFELINE}",
            f"--worker={','.join(map(str, inherited))}",
        ]
        with theirs, open(os.devnull, "rb") as nothing:
            cast(IReactorProcess, self._reactor).spawnProcess(
                self,
                sys.executable,
                command,
                env=None,
                # Twisted takes modules from its working directory, too.
                path="/",
                childFDs={
                    0: nothing.fileno(),
                    1: "r",
                    2: "r",
                    _LIFELINE: theirs.fileno(),
                    DESCRIPTOR: "r",
                    **dict(zip(inherited, self._descriptors, strict=True)),
                },
            )
        self._lifeline = ours

    def stop(self) -> "Deferred[None]":
        """End it, gently; fires when it has ended."""
        self._stopping = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        ended: Deferred[None] = Deferred()
        if self.transport is None:
            ended.callback(None)
            return ended
        self._ended = ended
        self._hang_up()
        ended.addTimeout(STOP_S, self._reactor, self._kill)
        return ended

    def reload(self) -> "Deferred[None]":
        """Have it read the certificate anew; fires when it has, or has ended.

        One that is begun afterwards reads it as it is.
        """
        reloaded: Deferred[None] = Deferred()
        if self.transport is None:
            reloaded.callback(None)
            return reloaded
        self._reloaded = reloaded
        self.signal(signal.SIGHUP)
        return reloaded.addTimeout(RELOAD_S, self._reactor, self._not_reloaded)

    def _not_reloaded(self, result: object, _: float) -> None:
        self._reloaded = None
        log.error("Worker {number} does not say that it has reloaded", number=self._number)

    def _has_reloaded(self) -> None:
        if self._reloaded is not None:
            reloaded, self._reloaded = self._reloaded, None
            reloaded.callback(None)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.transport is not None:
            try:
                self.transport.signalProcess(number)
            except ProcessExitedAlready:
                return  # its end is about to be told

    def _kill(self, result: object, _: float) -> None:
        log.error("Worker {number} does not end, and is killed", number=self._number)
        self.signal(signal.SIGKILL)

    def _hang_up(self) -> None:
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """What it says goes into our log; but for its reports."""
        if childFD == DESCRIPTOR:
            self._has_reloaded()
            return
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "backslashreplace")
            log.info("Worker {number}: {text}", number=self._number, text=text)

    def processEnded(self, reason: Failure) -> None:
        """It has ended; unless it was told to, there shall be another."""
        self.transport = None
        self._hang_up()
        self._has_reloaded()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)
        if self._stopping:
            return
        if cast(Any, self._reactor).seconds() - self._began_s >= STEADY_S:
            self._again_s = AGAIN_S
        log.error(
            "Worker {number} has ended ({reason}); begun again in {delay:g} s",
            number=self._number,
            reason=reason.value,
            delay=self._again_s,
        )
        self._again = cast(Any, self._reactor).callLater(self._again_s, self.start)
        self._again_s = min(2 * self._again_s, AGAIN_MAX_S)
