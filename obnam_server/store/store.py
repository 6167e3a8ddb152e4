"""The store of a server: a data directory, its repositories, its clients."""

from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from obnam.model.ids import RepositoryName
from obnam_server.store import layout
from obnam_server.store.clients import Clients
from obnam_server.store.files import LOCAL_FILES, IFiles
from obnam_server.store.index import SqliteIndex
from obnam_server.store.parts import RepositoryHome
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.segments import LocalSegmentStore
from obnam_server.store.server_key import ServerKey

INDEX_NAME = "index.sqlite"


@define(eq=False)
class Store:
    """A data directory, held by this process alone; `open` makes it."""

    clients: Clients
    key: ServerKey
    _data: Path
    _clock: Callable[[], int]
    _files: IFiles
    _lock: layout.Lock
    _segments: LocalSegmentStore
    _opened: dict[RepositoryName, RepositoryStore] = field(init=False, factory=dict)

    @classmethod
    def open(
        cls, data_directory: Path, clock: Callable[[], int], files: IFiles = LOCAL_FILES
    ) -> "Store":
        """Open a data directory, or make it where there is nothing yet.

        ``clock``: ns since the epoch. `StoreInUse`, `BadDataDirectory`, `UnknownFormat`,
        `StoreFull`, `StoreFailed`.
        """
        data = data_directory.absolute()
        layout.prepare_directory(data, files)
        lock = layout.Lock(data)
        try:
            layout.remove_half_made(data)
            key = ServerKey.open(data, files)
            clients = Clients.open(data, clock)
        except BaseException:
            lock.release()
            raise
        segments = LocalSegmentStore(layout.repositories_of(data), files)
        return cls(clients, key, data, clock, files, lock, segments)

    def create_repository(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. Make a repository, or give the one there is. `StoreFull`, `StoreFailed`."""
        layout.make_repository(self._data, name, self._files)
        return self.repository(name)

    def repository(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. The repository of this name, opened when it is first asked for. `NotFound`."""
        opened = self._opened.get(name)
        if opened is None:
            home = RepositoryHome(name, layout.repository_id(self._data, name), self._segments)
            index = SqliteIndex(layout.repositories_of(self._data) / name / INDEX_NAME)
            opened = self._opened[name] = RepositoryStore(home, index, self._clock, self.key)
        return opened

    def repositories(self) -> list[RepositoryName]:
        """The names of all, sorted."""
        return layout.names_of(self._data)

    def close(self) -> None:
        """Close everything. No other call may be under way."""
        try:
            for repository in self._opened.values():
                repository.close()
            self._segments.close()
            self.clients.close()
        finally:
            self._lock.release()
