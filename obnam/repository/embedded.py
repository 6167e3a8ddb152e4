"""A repository in a directory: the real server as a child process, for the time of one command.

The server listens on a Unix socket in a private directory and is spoken to like any other one.
A socket pair between the two says when it is ready, has it do its upkeep, and ends it: it stops
when our end is closed, even when that is because this process was killed.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import (
    IProcessTransport,
    IReactorProcess,
    IReactorSocket,
)
from twisted.internet.protocol import ProcessProtocol, Protocol, ServerFactory
from twisted.internet.tcp import Connection
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure

from obnam.errors import EmbeddedServerFailed
from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.lent import Lent
from obnam.wire.lifeline import LINE_MAX, READY, Lending, LendingAnswer, Upkeep, UpkeepAsked
from obnam.wire.members import BadMessage

SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path on Linux (``sun_path`` has 108, the last of them a zero)."""

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

_LIFELINE = 3
"""The child's number for its end of the socket pair."""

# No module is to be taken from the directory that the user happens to be in (-P); and both commands
# run in the private one.
_SERVER = (
    *("-P", "-c", "from obnam_server.embedded import main; main()"),
    *(f"--lifeline={_LIFELINE}", "--config"),
)
_ADMIN = ("-P", "-c", "from obnam_server.admin.main import main; main()", "--config")


@define(eq=False)
class _Child(ProcessProtocol):
    """The server's process. ``ready`` fires when it says so, ``ended`` when it is gone.

    ``answers``: what it was asked on the line, in that order.
    """

    data_directory: Path
    ready: "Deferred[None]" = field(factory=Deferred)
    ended: "Deferred[None]" = field(factory=Deferred)
    answers: "deque[Deferred[bytes]]" = field(factory=deque)
    output: bytes = b""

    def expect(self) -> "Deferred[bytes]":
        """The answer to what it is asked now."""
        answer: Deferred[bytes] = Deferred()
        self.answers.append(answer)
        return answer

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """Its log."""
        self.output = (self.output + data)[-OUTPUT_KEPT:]

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """It is gone, and all that it printed was read."""
        if not self.ready.called:
            problem = _last_line(self.output) or "its server ended at once"
            self.ready.errback(EmbeddedServerFailed(str(self.data_directory), problem))
        while self.answers:
            problem = "its server ended before it was told to"
            self.answers.popleft().errback(EmbeddedServerFailed(str(self.data_directory), problem))
        self.ended.callback(None)


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

    data_directory: Path
    socket_path: str
    _private: Path
    _reactor: ReactorBase
    _process: IProcessTransport
    _child: _Child
    _lifeline: _Lifeline
    _lent: dict[int, bool] = field(factory=dict)

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
            [*_ADMIN, str(self._private / "server.yaml"), *arguments],
            env=_environment(self.data_directory),
            path=str(self._private),
            reactor=self._reactor,
        )
        invitation = _last_line(output)
        if status != 0 or "#" not in invitation:
            raise EmbeddedServerFailed(str(self.data_directory), _last_line(errors or output))
        return invitation.partition("#")[2].partition(".")[0]

    async def until_ready(self) -> None:
        """Wait until it listens. Raises `EmbeddedServerFailed`; then it is stopped already."""
        self._child.ready.addTimeout(START_S, self._reactor)
        try:
            await self._child.ready
        except TimeoutError as error:
            await self.stop()
            problem = f"its server was not ready after {START_S:g} seconds"
            raise EmbeddedServerFailed(str(self.data_directory), problem) from error
        except BaseException:
            await self.stop()
            raise

    async def look_after(self, asked: UpkeepAsked) -> Upkeep:
        """Have it do its upkeep; once, and as the last thing. Raises `EmbeddedServerFailed`."""
        if self._child.ended.called or self._lifeline.transport is None:
            raise self._failed("its server ended before its upkeep")
        answer = self._child.expect()
        self._lifeline.transport.write(asked.to_line())
        answer.addTimeout(asked.limit_s + UPKEEP_ENDS_S, self._reactor)
        try:
            return Upkeep.from_line(await answer)
        except TimeoutError as error:
            raise self._failed("its upkeep does not leave off when its time is up") from error
        except BadMessage as error:
            raise self._failed(f"what its server says of its upkeep is {error}") from error

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

    def _failed(self, problem: str) -> EmbeddedServerFailed:
        return EmbeddedServerFailed(str(self.data_directory), problem)

    async def stop(self) -> None:
        """End the server, wait for it, and remove its private directory."""
        if self._lifeline.transport is not None:
            self._lifeline.transport.loseConnection()
        patience = self._reactor.callLater(STOP_S, self._process.signalProcess, "KILL")
        await self._child.ended
        if patience.active():
            patience.cancel()
        self.remove_private()

    def remove_private(self) -> None:
        """Remove its private directory. For who will not come to `stop` it: it ends with us."""
        shutil.rmtree(self._private, ignore_errors=True)


async def start(
    reactor: ReactorBase, data_directory: Path, private_parents: Sequence[Path]
) -> EmbeddedServer:
    """`begin`, and return when the server listens. Raises `EmbeddedServerFailed`."""
    server = begin(reactor, data_directory, private_parents)
    await server.until_ready()
    return server


def begin(
    reactor: ReactorBase, data_directory: Path, private_parents: Sequence[Path]
) -> EmbeddedServer:
    """Start the server of ``data_directory``, which it makes if need be; before the reactor, too.

    Its private directory is made in the first of ``private_parents`` where its path is short
    enough for a socket: ``XDG_RUNTIME_DIR``, ``TMPDIR``, ``/tmp``. Raises `EmbeddedServerFailed`.
    """
    private = _private_directory(data_directory, private_parents)
    try:
        return _spawn(reactor, data_directory.absolute(), private)
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise


def _spawn(reactor: ReactorBase, data_directory: Path, private: Path) -> EmbeddedServer:
    socket_path = str(private / "socket")
    configuration = private / "server.yaml"
    settings = {
        "data_directory": str(data_directory),
        "listen": ["unix:" + quoteStringArgument(socket_path)],  # type: ignore[no-untyped-call]
        "upkeep_every_minutes": 0,  # but see `EmbeddedServer.look_after`
    }
    configuration.write_text(json.dumps(settings))  # JSON is YAML
    child = _Child(data_directory)
    lifeline = _Lifeline(child)
    ours, theirs = socket.socketpair()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        process = cast(IReactorProcess, reactor).spawnProcess(
            child,
            os.fsencode(sys.executable),
            [sys.executable, *_SERVER, str(configuration)],
            env=_environment(data_directory),
            path=str(private),
            childFDs={0: nothing, 1: "r", 2: "r", _LIFELINE: theirs.fileno()},
        )
        # The reactor makes a copy of our end.
        cast(IReactorSocket, reactor).adoptStreamConnection(
            ours.fileno(),
            socket.AF_UNIX,
            cast(ServerFactory, ServerFactory.forProtocol(lambda: lifeline)),
        )
    finally:
        os.close(nothing)
        ours.close()
        theirs.close()
    return EmbeddedServer(data_directory, socket_path, private, reactor, process, child, lifeline)


def _environment(data_directory: Path) -> dict[str, str]:
    """Ours, and the place of the server's package, wherever that is."""
    found = find_spec("obnam_server")
    if found is None or found.origin is None:
        raise EmbeddedServerFailed(str(data_directory), "obnam-server is not installed here")
    places = [str(Path(found.origin).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _private_directory(data_directory: Path, parents: Sequence[Path]) -> Path:
    """A new directory that only we can enter, with room for a socket's name."""
    problem = "there is no directory for its socket"
    for parent in parents:
        try:
            private = Path(tempfile.mkdtemp(prefix="obnam-", dir=parent))  # mode 0700
        except OSError as error:
            problem = f"no directory for its socket can be made in {parent}: {error.strerror}"
            continue
        if len(os.fsencode(private / "socket")) <= SOCKET_PATH_MAX:
            return private
        private.rmdir()
        problem = f"the path of {parent} is too long for a socket; set TMPDIR to a shorter one"
    raise EmbeddedServerFailed(str(data_directory), problem)


def _last_line(output: bytes) -> str:
    """The last line that says something, fit for a terminal."""
    lines = output.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c if c.isprintable() else "?" for c in last)
