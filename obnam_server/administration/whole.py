"""The server as a whole."""

import os
from pathlib import Path

from obnam.wire.members import Json
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.disk import layout
from obnam_server.store.store import Store


def status(store: Store, arguments: Arguments) -> Json:
    """Repositories: their clients, not counting revoked ones, and the size of their files."""
    clients = [each for each in store.clients.list() if each.revoked_ns is None]
    home = layout.repositories_of(store.data)
    return {
        "data_directory": str(store.data),
        "server_key": store.key.public.hex(),
        "audit_missed": store.audit.missed,
        "repositories": [
            {
                "name": name,
                "clients": sum(each.repository == name for each in clients),
                "size_bytes": _size_bytes(home / name),
            }
            for name in store.repositories()
        ],
    }


def _size_bytes(folder: Path) -> int:
    """Sizes of all files. Segments may come and go meanwhile."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total


OPERATIONS = (Operation("status", status, Access.READ),)
