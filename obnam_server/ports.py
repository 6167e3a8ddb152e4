"""Listening, at once or not at all: on endpoints of ``listen``, and on sockets of our own."""

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet.base import ReactorBase
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from obnam.errors import ObnamError
from obnam.transport.bulk_unix import BulkUnix
from obnam_server.sockets import socket_address

BACKLOG = 4096
"""Connections that the kernel keeps until they are accepted. Twisted's 50 are less than a hundred
clients that begin at the same minute: the others would have to try again, a second later, and
whoever opens many connections could keep them out. As many as with systemd's sockets; the kernel
has its own limit: ``somaxconn``."""

_WITH_BACKLOG = ("tcp", "tcp6", "unix")
"""Endpoints that take one. That of a socket of systemd is systemd's."""


@define(eq=False)
class CannotListen(ObnamError):
    """An endpoint of ``listen`` is in use, or not allowed."""

    endpoint: str
    problem: str

    def __str__(self) -> str:
        return f"cannot listen on {self.endpoint}: {self.problem}"


def listen_on(reactor: ReactorBase, text: str, factory: IProtocolFactory) -> IListeningPort:
    """Listen now. Raises `CannotListen`."""
    # Twisted's server endpoints give a Deferred that has fired already.
    found: list[IListeningPort] = []
    failed: list[Failure] = []
    # The socket of a Unix endpoint exists before its mode is set.
    before = os.umask(0o077)
    try:
        on = BulkUnix(reactor) if text.startswith("unix:") else reactor
        endpoint = serverFromString(on, with_backlog(text))
        endpoint.listen(factory).addCallbacks(found.append, failed.append)
    except ValueError as error:
        raise CannotListen(text, str(error)) from error
    except TypeError as error:
        # Twisted gives the options of the text to a function of its own as they are.
        problem = "it has an option that is unknown, or given twice"
        raise CannotListen(text, problem) from error
    except LookupError as error:
        problem = "systemd passed no such socket; start the server by its socket unit"
        raise CannotListen(text, problem) from error
    finally:
        os.umask(before)
    if failed:
        raise CannotListen(text, failed[0].getErrorMessage()) from failed[0].value
    return found[0]


def with_backlog(text: str) -> str:
    """An endpoint string with a backlog, unless it has one, or cannot have any."""
    kind, _, rest = text.partition(":")
    if kind not in _WITH_BACKLOG or not rest or ":backlog=" in text:
        return text
    return f"{text}:backlog={BACKLOG}"


async def stop_listening(port: IListeningPort) -> None:
    """Take no more connections. Who has removed the file of a socket has only been quicker."""
    with suppress(FileNotFoundError):
        await maybeDeferred(port.stopListening)


@define(eq=False)
class PrivateSocket:
    """A Unix socket that only the server's own user can open. `open` makes it."""

    path: Path
    _port: IListeningPort
    _address: ExitStack = field(factory=ExitStack)

    @classmethod
    def open(cls, path: Path, factory: Any, reactor: ReactorBase) -> "PrivateSocket":
        """Listen at ``path``, however long that is. What is there is a leftover: whoever has the
        store open is alone.

        `OSError`, `CannotListenError`: some file systems, such as those of other systems' disks and
        shares, have no sockets.
        """
        path.unlink(missing_ok=True)
        # The socket exists before its mode is set.
        before = os.umask(0o077)
        try:
            with ExitStack() as stack:
                address = stack.enter_context(socket_address(path))
                # To a Unix socket whose backlog is full one cannot even begin to connect.
                port = cast(IReactorUNIX, reactor).listenUNIX(
                    address, cast(Factory[Any], factory), backlog=BACKLOG, mode=0o600
                )
                return cls(path, port, stack.pop_all())
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Take no more connections, and remove it."""
        if not self.path.is_socket():
            self.path.touch()  # Twisted removes it, and is at a loss when somebody else did
        await maybeDeferred(self._port.stopListening)
        self._address.close()
