"""Sealed bytes between clients and segments, in a worker: blocking, on its threads."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, field

from obnam.model.ids import RepositoryName
from obnam_server.store.disk.direct import DirectAppender
from obnam_server.store.disk.files import LOCAL_FILES, IFiles, disk_errors
from obnam_server.store.disk.layout import repositories_of
from obnam_server.store.segments.fetch import Wanted, read_frames
from obnam_server.store.segments.format import HEADER_BYTES
from obnam_server.store.segments.local import LocalSegmentStore
from obnam_server.store.segments.parts import RepositoryHome
from obnam_server.store.segments.received import ReceivedFrames


@define(eq=False)
class WrittenBody:
    """A body on its way into a segment that the owner has begun, and will end or throw away."""

    path: Path
    received: ReceivedFrames = field(factory=ReceivedFrames)
    _files: IFiles = LOCAL_FILES
    _appender: DirectAppender | None = None

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next pieces. `BadFrame`, `StoreFull`, `StoreFailed`."""
        self.received.feed(pieces)
        with disk_errors(self.path):
            if self._appender is None:
                descriptor = self._files.extend(self.path)
                self._appender = DirectAppender(self._files, descriptor, HEADER_BYTES)
            self._appender.append(pieces)

    def finish(self) -> None:
        """The body is whole. The owner makes it durable. `BadFrame`, `StoreFailed`."""
        self.received.whole()
        with disk_errors(self.path):
            if self._appender is not None:
                self._appender.flush()
            self.abort()

    def abort(self) -> None:
        """Let go of the file."""
        appender, self._appender = self._appender, None
        if appender is not None:
            appender.drop()
            self._files.close(appender.descriptor)


def frames_of(
    data: Path,
    repository: RepositoryName,
    wanted: Sequence[Wanted],
    moved: Callable[[Sequence[Wanted]], Sequence[Wanted]],
) -> Iterator[bytes]:
    """The frames of an answer. See `obnam_server.store.segments.fetch.read_frames`.

    Each answer opens the segments for itself: what is removed, or belongs to another repository
    of that name later, shall not be kept open here.
    """
    segments = LocalSegmentStore(repositories_of(data), LOCAL_FILES)
    # The id is for those who write.
    return read_frames(RepositoryHome(repository, b"", segments), wanted, moved)
