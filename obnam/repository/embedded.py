"""A repository in a directory: the real server as a child process, for the time of one command.

The server listens on a Unix socket in a private directory and is spoken to like any other one.
A socket pair between the two says when it is ready, has it do its upkeep, and ends it: it stops
when our end is closed, even when that is because this process was killed.
"""

import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.tcp import Connection
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from zope.interface import implementer

from obnam.errors import EmbeddedServerFailed
from obnam.model.ids import ClientName, RepositoryName
from obnam.repository.starting import StartedServer, begin, environment
from obnam.wire.lent import Lent
from obnam.wire.lifeline import LINE_MAX, READY, Lending, LendingAnswer, Upkeep, UpkeepAsked
from obnam.wire.members import BadMessage

START_S = 60.0
"""How long the server may take to be ready: it may have an index to open on a slow disk."""

STOP_S = 30.0
"""How long it may take to stop before it is killed; it gives requests under way 10 s itself."""

UPKEEP_ENDS_S = 30.0
"""How long after its time upkeep may take to leave off: it waits for a slow disk once or twice."""

LEND_S = 10.0
"""How long it may take to say whether it takes memory: it has only to map it."""

OUTPUT_KEPT = 8192
"""Bytes of the child's output that are kept, for the message when it fails."""

GONE_FIRST_S, GONE_MOST_S = 0.001, 0.1
"""Between looks at whether the process is gone, once its output has ended: that is at once."""

_ADMIN = ("-P", "-c", "from obnam_server.admin.main import main; main()", "--config")


@implementer(IReadDescriptor)
@define(eq=False)
class _Child:
    """The server's process. ``ready`` fires when it says so, ``ended`` when it is gone.

    ``answers``: what it was asked on the line, in that order.
    """

    _started: StartedServer
    _reactor: ReactorBase
    ready: "Deferred[None]" = field(factory=Deferred)
    ended: "Deferred[None]" = field(factory=Deferred)
    answers: "deque[Deferred[bytes]]" = field(factory=deque)
    output: bytes = b""

    def watch(self) -> None:
        """From now on its log is read, which ends with it."""
        os.set_blocking(self._started.output, False)
        cast(IReactorFDSet, self._reactor).addReader(self)

    def expect(self) -> "Deferred[bytes]":
        """The answer to what it is asked now."""
        answer: Deferred[bytes] = Deferred()
        self.answers.append(answer)
        return answer

    def kill(self) -> None:
        """End it at once."""
        self._started.process.kill()

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return self._started.output

    def logPrefix(self) -> str:  # noqa: N802
        """See ``ILoggingContext``."""
        return "embedded server"

    def doRead(self) -> Any:  # noqa: N802
        """Its log."""
        try:
            data = os.read(self._started.output, OUTPUT_KEPT)
        except BlockingIOError:
            return None
        self.output = (self.output + data)[-OUTPUT_KEPT:]
        return None if data else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """All that it printed was read."""
        cast(IReactorFDSet, self._reactor).removeReader(self)
        os.close(self._started.output)
        self._look_whether_gone(GONE_FIRST_S)

    def _look_whether_gone(self, again_s: float) -> None:
        if self._started.process.poll() is None:
            again_s = min(again_s, GONE_MOST_S)
            self._reactor.callLater(again_s, self._look_whether_gone, 2 * again_s)
            return
        if not self.ready.called:
            self.ready.errback(self.failed(_last_line(self.output) or "its server ended at once"))
        while self.answers:
            self.answers.popleft().errback(self.failed("its server ended during upkeep"))
        self.ended.callback(None)

    def failed(self, problem: str) -> EmbeddedServerFailed:
        """An error that names the directory."""
        return EmbeddedServerFailed(str(self._started.data_directory), problem)


@define(eq=False)
class _Lifeline(Protocol):
    """Our end of the socket pair. Its loss needs no answer: the process's end will tell."""

    child: _Child
    _heard: bytes = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """The server says that it is ready, and later what came of its upkeep."""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._heard) > LINE_MAX and self.transport is not None:
            self.transport.loseConnection()

    def _line(self, line: bytes) -> None:
        if not self.child.ready.called and line == READY:
            self.child.ready.callback(None)
        elif self.child.answers:
            self.child.answers.popleft().callback(line)


@define(eq=False)
class EmbeddedServer:
    """A server that runs until `stop`; ``socket_path`` is where it listens once it is ready."""

    _started: StartedServer
    _reactor: ReactorBase
    _child: _Child
    _lifeline: _Lifeline
    _lent: dict[int, bool] = field(factory=dict)

    @property
    def data_directory(self) -> Path:
        """Where its store lies."""
        return self._started.data_directory

    @property
    def socket_path(self) -> str:
        """Where it listens once it is ready."""
        return self._started.socket_path

    async def invite(
        self, client: ClientName, repository: RepositoryName, scopes: Sequence[str]
    ) -> str:
        """A code for `obnam.repository.enrol`: whoever owns the directory may invite himself.

        Raises `EmbeddedServerFailed`.
        """
        arguments = ["client", "add", client, f"--repository={repository}"]
        arguments += [f"--scope={scope}" for scope in scopes]
        output, errors, status = await getProcessOutputAndValue(  # type: ignore[no-untyped-call]
            sys.executable,
            [*_ADMIN, str(self._started.configuration), *arguments],
            env=environment(self._started.data_directory),
            path=str(self._started.private),
            reactor=self._reactor,
        )
        invitation = _last_line(output)
        if status != 0 or "#" not in invitation:
            raise self._child.failed(_last_line(errors or output))
        return invitation.partition("#")[2].partition(".")[0]

    async def until_ready(self) -> None:
        """Wait until it listens. Raises `EmbeddedServerFailed`; then it is stopped already."""
        self._child.ready.addTimeout(START_S, self._reactor)
        try:
            await self._child.ready
        except TimeoutError as error:
            await self.stop()
            problem = f"its server was not ready after {START_S:g} seconds"
            raise self._child.failed(problem) from error
        except BaseException:
            await self.stop()
            raise

    async def look_after(self, asked: UpkeepAsked) -> Upkeep:
        """Have it do its upkeep; once, and as the last thing. Raises `EmbeddedServerFailed`."""
        if self._child.ended.called or self._lifeline.transport is None:
            raise self._child.failed("its server ended before its upkeep")
        answer = self._child.expect()
        self._lifeline.transport.write(asked.to_line())
        answer.addTimeout(asked.limit_s + UPKEEP_ENDS_S, self._reactor)
        try:
            return Upkeep.from_line(await answer)
        except TimeoutError as error:
            raise self._child.failed("its upkeep does not leave off when its time is up") from error
        except BadMessage as error:
            raise self._child.failed(f"what its server says of its upkeep is {error}") from error

    async def lend(self, lent: Lent) -> bool:
        """Whether it has that memory, now or from before. If not, send what lies there."""
        if lent.number not in self._lent:
            self._lent[lent.number] = await self._is_taken(lent)
        return self._lent[lent.number]

    async def _is_taken(self, lent: Lent) -> bool:
        transport = self._lifeline.transport
        if self._child.ended.called or transport is None:
            return False
        try:
            # At once or not at all: the descriptor is the caller's, who may be cancelled. Nothing
            # that was said before waits; there is not much said.
            line = cast(Connection, transport).getHandle()
            socket.send_fds(line, [Lending(lent.number).to_line()], [lent.descriptor])
        except OSError:
            return False
        answer = self._child.expect()
        answer.addTimeout(LEND_S, self._reactor)
        try:
            return LendingAnswer.from_line(await answer).is_taken
        except (TimeoutError, BadMessage, EmbeddedServerFailed):
            return False  # whoever sends it instead will be told what is wrong

    def gone(self) -> EmbeddedServerFailed | None:
        """Why it does not answer, once its process has ended: nobody starts another one."""
        if not self._child.ended.called:
            return None
        return self._child.failed(f"its server has ended ({self._started.ending})")

    async def stop(self) -> None:
        """End the server, wait for it, and remove its private directory."""
        if self._lifeline.transport is not None:
            self._lifeline.transport.loseConnection()
        patience = self._reactor.callLater(STOP_S, self._child.kill)
        await self._child.ended
        if patience.active():
            patience.cancel()
        self.remove_private()

    def remove_private(self) -> None:
        """See `StartedServer`."""
        self._started.remove_private()


async def start(
    reactor: ReactorBase, data_directory: Path, private_parents: Sequence[Path]
) -> EmbeddedServer:
    """Start one, and return when it listens. Raises `EmbeddedServerFailed`."""
    server = take_over(reactor, begin(data_directory, private_parents))
    await server.until_ready()
    return server


def take_over(reactor: ReactorBase, started: StartedServer) -> EmbeddedServer:
    """From now on it is spoken to."""
    child = _Child(started, reactor)
    child.watch()
    lifeline = _Lifeline(child)
    with started.line as line:
        # The reactor makes a copy of our end.
        cast(IReactorSocket, reactor).adoptStreamConnection(
            line.fileno(),
            socket.AF_UNIX,
            cast(ServerFactory, ServerFactory.forProtocol(lambda: lifeline)),
        )
    return EmbeddedServer(started, reactor, child, lifeline)


def _last_line(output: bytes) -> str:
    """The last line that says something, fit for a terminal."""
    lines = output.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c if c.isprintable() else "?" for c in last)
