"""The server's own Unix sockets, in its data directory, which only its own user can enter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obnam.wire.limits import SOCKET_PATH_MAX

ADMIN_SOCKET_NAME = "admin.socket"
"""Where it is administered."""

WORKERS_SOCKET_NAME = "workers.socket"
"""Where the owner listens for its workers."""


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """What to bind to, or to connect to, for a socket at ``path``, however long that is.

    Good within the context only. Raises `OSError` when there is no such directory.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
