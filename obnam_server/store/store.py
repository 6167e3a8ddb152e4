"""The store of a server: a data directory, its repositories, its clients."""

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from obnam.errors import AccessDenied, NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.accounts.audit import Audit, RepositoryAudit
from obnam_server.store.accounts.clients import Clients
from obnam_server.store.accounts.repository_settings import RepositorySettings
from obnam_server.store.accounts.server_key import ServerKey
from obnam_server.store.disk import layout
from obnam_server.store.disk.files import LOCAL_FILES, IFiles
from obnam_server.store.disk.reserve import Reserve
from obnam_server.store.errors import StoreFailed
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.repository import Judge, RepositoryStore
from obnam_server.store.segments.local import LocalSegmentStore
from obnam_server.store.segments.parts import RepositoryHome

INDEX_NAME = "index.sqlite"


@define(eq=False)
class Store:
    """A data directory, held by this process alone; `open` makes it."""

    clients: Clients
    audit: Audit
    key: ServerKey
    data: Path
    _clock: Callable[[], int]
    _files: IFiles
    _lock: layout.Lock
    _segments: LocalSegmentStore
    _judge: Judge | None = None
    settings: RepositorySettings = field(init=False)
    reserve: Reserve = field(init=False)
    _opened: dict[RepositoryName, RepositoryStore] = field(init=False, factory=dict)
    _retired: dict[RepositoryName, weakref.ref[RepositoryStore]] = field(init=False, factory=dict)
    _ending: threading.Event = field(init=False, factory=threading.Event)

    def __attrs_post_init__(self) -> None:
        self.settings = self.clients.repository_settings()
        self.reserve = Reserve(self.data, self._files)

    @classmethod
    def open(
        cls,
        data_directory: Path,
        clock: Callable[[], int],
        files: IFiles = LOCAL_FILES,
        judge: Judge | None = None,
    ) -> "Store":
        """Open a data directory, or make it where there is nothing yet.

        ``clock``: ns since the epoch. ``judge``: what raises alarms at commits. `StoreInUse`,
        `BadDataDirectory`, `UnknownFormat`, `StoreFull`, `StoreFailed`.
        """
        data = data_directory.absolute()
        layout.prepare_directory(data, files)
        lock = layout.Lock(data)
        try:
            layout.remove_half_made(data)
            audit = Audit.open(data, clock, files)
            clients = Clients.open(data, clock, audit)
            key = ServerKey.open(data, files)
        except BaseException:
            lock.release()
            raise
        segments = LocalSegmentStore(layout.repositories_of(data), files)
        return cls(clients, audit, key, data, clock, files, lock, segments, judge)

    def now_ns(self) -> int:
        """The time by the store's clock, ns since the epoch."""
        return self._clock()

    def create_repository(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. Make a repository, or give the one there is. `StoreFull`, `StoreFailed`."""
        self._check_not_retired(name)
        layout.make_repository(self.data, name, self._files)
        return self.repository(name)

    def repository(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. The repository of this name, opened when it is first asked for. `NotFound`."""
        opened = self._opened.get(name)
        if opened is None:
            home = RepositoryHome(name, layout.repository_id(self.data, name), self._segments)
            index = SqliteIndex(layout.repositories_of(self.data) / name / INDEX_NAME)
            opened = self._opened[name] = RepositoryStore(
                home, index, self._clock, RepositoryAudit(self.audit, name), self.key, self._judge
            )
        return opened

    def repository_for_client(self, name: RepositoryName) -> RepositoryStore:
        """WRITER. The same, for a request that was let in.

        `AccessDenied`: all its clients were revoked since. A repository that was destroyed is not
        to be made again by its last request.
        """
        if not self.clients.may_use(name):
            raise AccessDenied("the server", "the token was revoked")
        return self.create_repository(name)

    def destroy_repository(self, name: RepositoryName) -> list[ClientName]:
        """WRITER. Revoke its clients, and let it be no more, durably; whose tokens were revoked.

        Cut short between the two, it is there and nobody can use it: do it again. Its files are
        removed by `remove_gone`. `NotFound`, `StoreFailed`.
        """
        if name not in self.repositories():
            raise NotFound(f"repository {name}")
        revoked = self.clients.revoke_all(name)
        self.settings.forget(name)
        layout.put_away(self.data, name, self._files)
        opened = self._opened.pop(name, None)
        if opened is not None:
            opened.retire()
            self._retired[name] = weakref.ref(opened)
        self._segments.forget(name)
        return revoked

    def remove_gone(self) -> None:
        """Any thread, one at a time. Remove what destroyed repositories left, until `end_soon`."""
        layout.remove_gone(self.data, self._ending.is_set)

    def end_soon(self) -> None:
        """Let what takes long come to an early end: `close` is next."""
        self._ending.set()

    def _check_not_retired(self, name: RepositoryName) -> None:
        """No repository takes the place of one that somebody is still reading."""
        retired = self._retired.get(name)
        if retired is None:
            return
        if retired() is not None:
            gc.collect()  # it may only be held by errors that refer to each other
        if retired() is not None:
            problem = "is still being destroyed; try again in a moment"
            raise StoreFailed(str(layout.repositories_of(self.data) / name), problem)
        self._segments.forget(name)
        del self._retired[name]

    def repositories(self) -> list[RepositoryName]:
        """The names of all, sorted."""
        return layout.names_of(self.data)

    def close(self) -> None:
        """Close everything. No other call may be under way."""
        try:
            for repository in self._opened.values():
                repository.close()
            self._segments.close()
            self.clients.close()
            self.audit.close()
        finally:
            self._lock.release()
