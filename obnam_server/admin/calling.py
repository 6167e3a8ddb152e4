"""Having an operation done: by the running server if there is one, else right here.

Blocking. The server's socket decides whether it runs: connecting to what a crash left behind is
refused by the kernel, and whoever has the data directory open has it alone.
"""

import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from obnam.wire.members import Json
from obnam_server.administration.answers import OperationFailed, failure_in
from obnam_server.config import Settings
from obnam_server.listening import read_listening
from obnam_server.sockets import ADMIN_SOCKET_NAME, socket_address
from obnam_server.store.errors import BadDataDirectory, StoreFull, StoreInUse

CONNECT_S = 10.0
"""How long the running server may take to accept a connection."""

PATIENCE_S = 10.0
"""How long to wait for a data directory that is in use, by a server that is just starting or
stopping, or by another command."""

RETRY_S = 0.05
"""How long to wait before looking again."""


def call(settings: Settings, name: str, arguments: Json, patience_s: float = PATIENCE_S) -> Json:
    """Have the operation ``name`` done, and give its answer.

    Raises what the operation raises: as it is, or as `OperationFailed` when the server did it.
    """
    until = time.monotonic() + patience_s
    while True:
        answer = ask(settings, "POST", f"/{name}", arguments)
        if answer is not None:
            return answer
        try:
            return _here(settings.data_directory, name, arguments)
        except StoreInUse:
            if time.monotonic() >= until:
                raise
            time.sleep(RETRY_S)


def about_running(settings: Settings) -> Json | None:
    """What the running server says of itself; ``None``: none runs."""
    return ask(settings, "GET", "/", None)


def ask(settings: Settings, method: str, path: str, arguments: Json | None) -> Json | None:
    """One request to the running server; ``None``: none runs. `OperationFailed`."""
    data = settings.data_directory.absolute()
    connection = _connected(data, data / ADMIN_SOCKET_NAME)
    if connection is None:
        elsewhere = read_listening(data)
        if elsewhere is None or not elsewhere.admin:
            return None
        connection = _connected(data, Path(elsewhere.admin))
        if connection is None:
            return None
    try:
        body = None if arguments is None else json.dumps(arguments)
        with suppress(BrokenPipeError):  # it may have said why before it closed
            connection.request(method, path, body, {"Connection": "close"})
        response = connection.getresponse()
        return _read(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        problem = "the server ended before it answered; see whether it did what it was asked to do"
        raise OperationFailed("ServerFailed", problem) from error
    finally:
        connection.close()


def _connected(data: Path, path: Path) -> "_Connection | None":
    connection = _Connection(path)
    try:
        connection.connect()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        return None
    except PermissionError as error:
        connection.close()
        raise _not_ours(data) from error
    return connection


def _read(status: int, body: bytes) -> Json:
    try:
        document: Any = json.loads(body)
    except ValueError:
        document = None
    if status != 200 or not isinstance(document, dict):
        raise failure_in(document)
    return document


def _not_ours(data: Path) -> BadDataDirectory:
    try:
        owner = str(data.stat().st_uid)
    except OSError:
        owner = "another one"
    return BadDataDirectory(
        str(data), f"belongs to user {owner}, not to {os.geteuid()}; run as that user"
    )


def _here(data: Path, name: str, arguments: Json) -> Json:
    # Only now: none of this is needed to ask a server.
    from obnam_server.administration.alone import perform_alone
    from obnam_server.administration.operation import LongOperation
    from obnam_server.administration.perform import perform
    from obnam_server.administration.registry import find
    from obnam_server.store.disk.files import LOCAL_FILES
    from obnam_server.store.disk.reserve import Reserve
    from obnam_server.store.store import Store

    operation = find(name)
    arguments = json.loads(json.dumps(arguments))  # as a server would get them
    try:
        store = Store.open(data, time.time_ns)
    except StoreFull:
        if not Reserve(data.absolute(), LOCAL_FILES).give_back():
            raise
        store = Store.open(data, time.time_ns)
    try:
        if isinstance(operation, LongOperation):
            return perform_alone(store, operation, arguments, os.getuid())
        answer = perform(store, operation, arguments, os.getuid())
        later: Callable[[Store], None] | None = operation.afterwards
        if later is not None:
            later(store)
        store.reserve.keep()
    finally:
        store.close()
    return answer


class _Connection(http.client.HTTPConnection):
    """HTTP to a Unix socket. Connecting has a time limit, an answer takes as long as it takes."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect. `OSError`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(CONNECT_S)
        with socket_address(self._path) as address:
            self.sock.connect(address)
        self.sock.settimeout(None)
