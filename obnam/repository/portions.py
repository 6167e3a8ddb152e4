"""Large bodies over a link that drops connections: in portions, and on from where they broke off.

Nothing is copied: a portion is a part of the caller's memory, from one frame's start to another's
end. As long as nothing breaks off twice, bodies go whole, each in one request.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredLock

from obnam.errors import ServerUnreachable
from obnam.model.ids import ChunkId, SessionId
from obnam.repository.deferring import returns_deferred
from obnam.repository.portion import Portion, is_broken_off
from obnam.wire.frames import Frame, split
from obnam.wire.interfaces import IChunks
from obnam.wire.lent import Lent

T = TypeVar("T")


class Again(Protocol):
    """Makes an attempt again and again, until one succeeds or it is time to give up."""

    def __call__(self, attempt: "Callable[[], Deferred[T]]") -> "Deferred[T]":
        """What the attempt that succeeded gave."""


class Portions:
    """``store`` and ``fetch`` of `IChunks`, by attempts that ``again`` repeats."""

    def __init__(self, chunks: IChunks, again: Again) -> None:
        self._chunks = chunks
        self._again = again
        self._portion = Portion()
        self._turn = DeferredLock()

    @returns_deferred
    async def store(self, session: SessionId, body: memoryview, lent: Lent | None = None) -> None:
        """See `IChunks`; but when it fails, the first frames of the body may be stored already."""
        stop = await self._again(self._upload(session, body, 0, lent))
        while stop < len(body):
            stop = await self._again(self._upload(session, body, stop, None))

    def _upload(
        self, session: SessionId, body: memoryview, start: int, lent: Lent | None
    ) -> "Callable[[], Deferred[int]]":
        """An attempt to store the next portion, from ``start`` on; it gives its end."""
        times = 0

        async def request() -> int:
            nonlocal times
            stop = self._end(body, start)
            try:
                if stop - start == len(body):
                    await self._chunks.store(session, body, lent)
                else:
                    with body[start:stop] as portion:
                        await self._chunks.store(session, portion)
            except ServerUnreachable as error:
                if is_broken_off(error):
                    times += 1
                    self._portion.broke_off(stop - start, times)
                raise
            self._portion.went_through(stop - start)
            return stop

        return lambda: self._in_turn(request)

    def _end(self, body: memoryview, start: int) -> int:
        """Where a portion ends: with a frame, and after one at least."""
        limit = start + self._portion.limit_bytes
        if limit >= len(body):
            return len(body)
        stop = start
        for frame in split(body[start:]):
            end = start + frame.offset + frame.length
            if end > limit and stop > start:
                break
            stop = end
        return stop

    @returns_deferred
    async def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> Sequence[Frame]:
        """See `IChunks`."""
        return await self._again(self._download(ids, into))

    def _download(
        self, ids: Sequence[ChunkId], into: memoryview
    ) -> "Callable[[], Deferred[Sequence[Frame]]]":
        """An attempt to fetch what earlier ones have not; it gives all of it."""
        came: list[Frame] = []
        times = 0

        async def request() -> Sequence[Frame]:
            nonlocal times
            end = _end_of(came)
            try:
                more = await self._chunks.fetch(ids[len(came) :], into[end:])
            except ServerUnreachable as error:
                came.extend(_moved(islice(split(into[end:]), error.whole_chunks), end))
                if is_broken_off(error):
                    times = 0 if error.whole_chunks else times + 1
                    self._portion.broke_off(self._portion.limit_bytes, times)
                raise
            self._portion.went_through(_end_of(more))
            return [*came, *_moved(more, end)] if came else more

        return lambda: self._in_turn(request)

    @returns_deferred
    async def _in_turn(self, request: Callable[[], Awaitable[T]]) -> T:
        """Side by side; but one at a time over a link that cannot carry much in time."""
        if self._portion.is_whole:
            return await request()
        async with self._turn:
            return await request()


def _end_of(frames: Sequence[Frame]) -> int:
    return frames[-1].offset + frames[-1].length if frames else 0


def _moved(frames: Iterable[Frame], by: int) -> Iterator[Frame]:
    """Where they lie in what begins ``by`` bytes earlier."""
    return (evolve(frame, offset=frame.offset + by) for frame in frames)
