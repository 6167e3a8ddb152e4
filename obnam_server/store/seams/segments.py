"""Where segments lie: one of the two seams of storage (see `index` for the other).

Local files stand behind it now (`obnam_server.store.segments.local`); an object store may later.
Everything blocks.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from zope.interface import Interface

from obnam.model.ids import RepositoryName
from obnam_server.store.seams.values import SegmentNumber, SegmentSummary


class ISegmentWriter(Interface):
    """One segment while it is written. One thread at a time; nobody can read it yet."""

    def write(pieces: Sequence[bytes | memoryview]) -> None:
        """Append ``pieces``; they may be changed once this returns. `StoreFull`, `OSError`."""

    def leave() -> Path:
        """Leave the file, with all that was written, to another process, which may append to it."""

    def was_written(size_bytes: int) -> None:
        """Another process has appended: it has so many bytes now. `StoreFailed`: it has not."""

    def finish(segment: SegmentNumber) -> SegmentSummary:
        """Make the segment durable and readable under its number, all or nothing.

        After an error the segment is given up: `abort` follows, and its bytes are never trusted.
        """

    def abort() -> None:
        """Throw the segment away, finished or not, durably. Harmless when repeated."""


class ISegmentStore(Interface):
    """Whole segments of many repositories. An object store is enough to provide this.

    What must hold underneath: a finished segment is read back as it was written or not at all;
    it never changes; `list` shows each finished segment and no unfinished one; a deleted
    segment stays deleted. All methods may be called from many threads.
    """

    def begin(repository: RepositoryName) -> ISegmentWriter:
        """Begin a segment. `StoreFull`."""

    def read(repository: RepositoryName, segment: SegmentNumber, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on. `DamagedSegment` when there are not so many."""

    def size_bytes(repository: RepositoryName, segment: SegmentNumber) -> int:
        """The size of a finished segment. `DamagedSegment` when there is none."""

    def let_go(repository: RepositoryName, segment: SegmentNumber) -> None:
        """What is read of a segment from now on comes from the disk, not from memory.

        `DamagedSegment` when there is none.
        """

    def list(repository: RepositoryName) -> Iterator[SegmentNumber]:
        """The numbers of all finished segments, in no order."""

    def strays(repository: RepositoryName) -> Iterator[str]:
        """Names of what lies among the segments, and is none."""

    def delete(repository: RepositoryName, segments: Iterable[SegmentNumber]) -> None:
        """Delete finished segments, durably. One that is not there is fine."""

    def settle(repository: RepositoryName) -> int:
        """Clear up behind a crash; how many unfinished segments there were.

        They are removed, and the finished ones are made durable. Called once, before the first
        `begin`.
        """
