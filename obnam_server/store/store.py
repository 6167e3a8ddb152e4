"""The store of a server: a data directory, its repositories, its clients."""

from collections.abc import Callable
from pathlib import Path

from obnam.model.ids import RepositoryName
from obnam_server.store.clients import Clients
from obnam_server.store.repository import RepositoryStore


class Store:
    """A data directory, held by this process alone."""

    clients: Clients

    @classmethod
    def open(cls, data_directory: Path, clock: Callable[[], int]) -> "Store":
        """Open it, or make it where there is nothing yet. ``clock``: ns since the epoch.

        `StoreInUse`, `BadDataDirectory`, `UnknownFormat`.
        """
        raise NotImplementedError

    def create_repository(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. Make a repository, or give the one there is."""
        raise NotImplementedError

    def repository(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. `NotFound`."""
        raise NotImplementedError

    def repositories(self) -> list[RepositoryName]:
        """The names of all, sorted."""
        raise NotImplementedError

    def close(self) -> None:
        """Close everything. No other call may be under way."""
        raise NotImplementedError
