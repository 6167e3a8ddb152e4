"""Where the owner listens for its workers."""

from pathlib import Path

SOCKET_NAME = "workers.socket"


def socket_of(data: Path) -> Path:
    """The Unix socket in the data directory, which only the server's own user can enter."""
    return data / SOCKET_NAME
