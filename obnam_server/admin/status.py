"""What a server keeps, and making an index anew."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from obnam.errors import NotFound
from obnam.model.ids import RepositoryName
from obnam.wire.messages import Json
from obnam_server.admin.clients import list_clients
from obnam_server.admin.listening import read_listening
from obnam_server.config import Settings
from obnam_server.store import layout
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.server_key import public_key_of


@frozen
class RepositoryStatus:
    """One repository: its clients, not counting revoked ones, and the size of its segments."""

    name: RepositoryName
    clients: int
    size_bytes: int


@frozen
class Status:
    """A whole server. ``pid`` and ``addresses``: of the running one, if it runs.

    ``server_key``: the public key that signs receipts, which clients pin; ``None``: not made yet.
    """

    data_directory: str
    pid: int | None
    addresses: tuple[str, ...]
    repositories: tuple[RepositoryStatus, ...]
    server_key: str | None = None

    def to_json(self) -> Json:
        """As JSON."""
        return {
            "data_directory": self.data_directory,
            "running": self.pid is not None,
            "pid": self.pid,
            "addresses": list(self.addresses),
            "server_key": self.server_key,
            "repositories": [
                {"name": each.name, "clients": each.clients, "size_bytes": each.size_bytes}
                for each in self.repositories
            ],
        }

    def lines(self) -> list[str]:
        """For people."""
        state = f"running as process {self.pid}" if self.pid is not None else "not running"
        lines = [f"data directory: {self.data_directory}", f"server: {state}"]
        lines += [f"address: {address}" for address in self.addresses]
        if self.server_key is not None:
            lines.append(f"server key: {self.server_key}")
        return lines + [
            f"repository {each.name}: {each.size_bytes / 1e6:.1f} MB, {each.clients} clients"
            for each in self.repositories
        ]


def status(settings: Settings) -> Status:
    """Look at a server's data directory; nothing is changed, and no lock is needed."""
    data = settings.data_directory
    # The clients come first: opening them says what is wrong with the directory, if anything is.
    clients = [each for each in list_clients(settings) if each.revoked_ns is None]
    running = read_listening(data)
    key = public_key_of(data)
    repositories = tuple(
        RepositoryStatus(
            name,
            sum(each.repository == name for each in clients),
            _size_bytes(layout.repositories_of(data) / name),
        )
        for name in layout.names_of(data)
    )
    return Status(
        str(data),
        running.pid if running else None,
        running.addresses if running else (),
        repositories,
        None if key is None else key.hex(),
    )


def rebuild(settings: Settings, only: RepositoryName | None) -> dict[RepositoryName, list[str]]:
    """Make indexes anew; what was found to be wrong with each repository, one line each.

    Raises `StoreInUse` while the server runs, and `NotFound`.
    """
    names: Sequence[RepositoryName] = layout.names_of(settings.data_directory)
    if only is not None:
        if only not in names:
            raise NotFound(f"repository {only}")
        names = [only]
    return {name: rebuild_index(settings.data_directory, name, time.time_ns) for name in names}


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
