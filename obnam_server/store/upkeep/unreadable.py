"""Chunks that a reader found to be unreadable, until the index is told with the next change."""

import threading
from collections.abc import Sequence

from attrs import define, field

from obnam.model.ids import ChunkId
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.index import IIndex
from obnam_server.store.segments.parts import RepositoryHome, read


@define(eq=False)
class Unreadable:
    """Those of one repository. Any thread."""

    _home: RepositoryHome
    _index: IIndex
    _ids: set[ChunkId] = field(init=False, factory=set)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def find(self, ids: Sequence[ChunkId]) -> None:
        """Look which of ``ids`` cannot be read."""
        for chunk_id, location in self._index.locate(ids).items():
            try:
                read(self._home, location)
            except DamagedSegment:
                with self._lock:
                    self._ids.add(chunk_id)

    def among(self, ids: Sequence[ChunkId]) -> list[ChunkId]:
        """Those of ``ids`` that were found."""
        if not self._ids:
            return []
        with self._lock:
            return [chunk_id for chunk_id in ids if chunk_id in self._ids]

    def note(self) -> None:
        """WRITER. Let the index know."""
        if not self._ids:
            return
        with self._lock:
            with self._index.transaction(durable=True):
                self._index.damage(list(self._ids))
            self._ids.clear()

    def damaged_count(self) -> int:
        """How many chunks are damaged, by the index and by what it is not told yet."""
        with self._lock:
            return self._index.damaged_count() + len(self._ids)
