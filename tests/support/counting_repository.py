"""A client of the memory server that counts what it is asked, and can fail at a chosen point."""

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail

from obnam.model.ids import ChunkId, SessionId
from obnam.wire.frames import split
from obnam.wire.lent import Lent
from obnam.wire.messages import Commit, Receipt
from tests.support.memory_repository import MemoryRepository


@define
class CountingRepository(MemoryRepository):
    """``before_store`` and ``before_commit`` are called first, and may raise.

    ``on_their_way``: uploads that are never answered, while ``is_stuck``.
    """

    stored: list[ChunkId] = field(factory=list)
    body_sizes: list[int] = field(factory=list)
    asked: list[ChunkId] = field(factory=list)
    commits: list[Commit] = field(factory=list)
    before_store: Callable[[], None] = field(default=lambda: None)
    before_commit: Callable[[], None] = field(default=lambda: None)
    is_stuck: bool = False
    on_their_way: list["Deferred[None]"] = field(factory=list)

    def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> "Deferred[Sequence[bool]]":
        """See `IChunks`."""
        self.asked += ids
        return super().missing(session, ids)

    def store(
        self, session: SessionId, body: memoryview, lent: Lent | None = None
    ) -> "Deferred[None]":
        """See `IChunks`."""
        try:
            self.before_store()
        except Exception as error:
            return fail(error)
        if self.is_stuck:
            self.on_their_way.append(Deferred())
            return self.on_their_way[-1]
        self.body_sizes.append(len(body))
        self.stored += [frame.chunk_id for frame in split(body)]
        return super().store(session, body)

    def commit(self, session: SessionId, commit: Commit) -> "Deferred[Receipt]":
        """See `IGenerations`."""
        try:
            self.before_commit()
        except Exception as error:
            return fail(error)
        self.commits.append(commit)
        return super().commit(session, commit)
