"""Where a server is administered: a Unix socket in its data directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obnam.wire.limits import SOCKET_PATH_MAX

SOCKET_NAME = "admin.socket"


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
