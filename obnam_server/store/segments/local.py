"""Segments as local files: ``ROOT/NAME/segments/XXXX/NNNNNNNNNNNNNNNN``.

A segment is written to ``ROOT/NAME/incoming`` and renamed when it is whole and durable. Files are
found by their number: 4096 consecutive ones in a directory, so that a busy server
works on few directories.
"""

import errno
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from attrs import define, field
from zope.interface import implementer

from obnam.model.ids import RepositoryName
from obnam_server.store.disk.direct import DirectAppender
from obnam_server.store.disk.files import IFiles, disk_errors
from obnam_server.store.errors import DamagedSegment, StoreFailed
from obnam_server.store.seams.segments import ISegmentStore, ISegmentWriter
from obnam_server.store.seams.values import SegmentNumber, SegmentSummary
from obnam_server.store.segments.format import name_of

OPEN_SEGMENTS_MAX = 128
"""Descriptors kept open for reading, of all repositories together."""

_DAMAGE = (errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.EUCLEAN)
"""What the system says of a file that is not there, or that the disk cannot read any more."""

_DIRECTORY_SHIFT = 12
_DIRECTORY = re.compile(r"[0-9a-f]{4,13}")
_FILE = re.compile(r"[0-9a-f]{16}")


@implementer(ISegmentWriter)
@define(eq=False)
class LocalSegmentWriter:
    """A segment in ``incoming``."""

    _files: IFiles
    _segments: Path
    _temporary: Path
    _descriptor: int | None
    _size_bytes: int = 0
    _final: Path | None = None
    _appender: DirectAppender | None = None

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """See `ISegmentWriter`."""
        if self._descriptor is None:
            raise ValueError("the segment is finished or given up")
        with disk_errors(self._temporary):
            if self._appender is None:
                self._appender = DirectAppender(self._files, self._descriptor, self._size_bytes)
            self._appender.append(pieces)
        self._size_bytes += sum(map(len, pieces))

    def leave(self) -> Path:
        """See `ISegmentWriter`."""
        with disk_errors(self._temporary):
            self._flush()
        return self._temporary

    def was_written(self, size_bytes: int) -> None:
        """See `ISegmentWriter`."""
        if self._descriptor is None:
            raise ValueError("the segment is finished or given up")
        with disk_errors(self._temporary):
            found = os.lseek(self._descriptor, 0, os.SEEK_END)
        if found != size_bytes:
            raise StoreFailed(str(self._temporary), f"has {found} bytes, not {size_bytes}")
        self._size_bytes = size_bytes

    def finish(self, segment: SegmentNumber) -> SegmentSummary:
        """See `ISegmentWriter`."""
        if self._descriptor is None:
            raise ValueError("the segment is finished or given up")
        target = path_of(self._segments, segment)
        with disk_errors(target):
            self._flush()
            self._files.sync(self._descriptor)
            self._close()
            self._make_room_for(target)
            # From here on a failure must remove it under its last name, whoever sees it.
            self._final = target
            self._files.rename(self._temporary, target)
            self._files.sync_directory(target.parent)
        return SegmentSummary(segment, self._size_bytes)

    def _make_room_for(self, target: Path) -> None:
        if target.exists():
            # Never replaced: it would be somebody's data.
            raise StoreFailed(str(target), "a segment of this number exists already")
        if not target.parent.is_dir():
            self._files.make_directory(target.parent)
            self._files.sync_directory(self._segments)

    def abort(self) -> None:
        """See `ISegmentWriter`."""
        self._close()
        with disk_errors(self._temporary):
            self._files.remove(self._temporary)
            if self._final is not None:
                self._files.remove(self._final)
                if self._final.parent.is_dir():  # else the repository is destroyed
                    self._files.sync_directory(self._final.parent)
                self._final = None

    def _flush(self) -> None:
        if self._appender is not None:
            self._appender.flush()
            self._appender = None

    def _close(self) -> None:
        if self._appender is not None:
            self._appender.drop()
            self._appender = None
        if self._descriptor is not None:
            # Forgotten first: a descriptor is closed even when closing it fails.
            descriptor, self._descriptor = self._descriptor, None
            self._files.close(descriptor)


class _OpenSegment:
    """A descriptor that is closed with the last reference to it.

    A reader keeps a reference while it reads, so that a segment that falls out of the cache
    meanwhile is closed only afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


@implementer(ISegmentStore)
@define(eq=False)
class LocalSegmentStore:
    """All segments under one directory, ``ROOT``."""

    _root: Path
    _files: IFiles
    _open: OrderedDict[tuple[RepositoryName, SegmentNumber], _OpenSegment] = field(
        init=False, factory=OrderedDict
    )
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def begin(self, repository: RepositoryName) -> LocalSegmentWriter:
        """See `ISegmentStore`."""
        home = self._root / repository
        # Workers open it by its name, and one of a server that was killed may do so late: when the
        # next server, which can have the same process id, is writing files of its own.
        temporary = home / "incoming" / f"{secrets.token_hex(16)}.tmp"
        with disk_errors(temporary):
            descriptor = self._files.create(temporary)
        return LocalSegmentWriter(self._files, home / "segments", temporary, descriptor)

    def read(
        self, repository: RepositoryName, segment: SegmentNumber, offset: int, length: int
    ) -> bytes:
        """See `ISegmentStore`."""
        try:
            opened = self._opened(repository, segment)
            data = os.pread(opened.descriptor, length, offset)
            while len(data) < length:
                more = os.pread(opened.descriptor, length - len(data), offset + len(data))
                if not more:
                    raise DamagedSegment(name_of(segment), f"ends before byte {offset + length}")
                data += more
            return data
        except OSError as error:
            self._failed_to_read(repository, segment, error)

    def _failed_to_read(
        self, repository: RepositoryName, segment: SegmentNumber, error: OSError
    ) -> NoReturn:
        if error.errno in _DAMAGE:
            raise DamagedSegment(name_of(segment), error.strerror or str(error)) from error
        # No descriptors or memory left, say: that tells nothing about the segment.
        path = self._path(repository, segment)
        raise StoreFailed(str(path), error.strerror or str(error)) from error

    def size_bytes(self, repository: RepositoryName, segment: SegmentNumber) -> int:
        """See `ISegmentStore`."""
        try:
            return self._path(repository, segment).stat().st_size
        except OSError as error:
            self._failed_to_read(repository, segment, error)

    def let_go(self, repository: RepositoryName, segment: SegmentNumber) -> None:
        """See `ISegmentStore`."""
        with self._lock:
            self._open.pop((repository, segment), None)
        try:
            opened = _OpenSegment(self._path(repository, segment))
            os.posix_fadvise(opened.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            self._failed_to_read(repository, segment, error)

    def list(self, repository: RepositoryName) -> Iterator[SegmentNumber]:
        """See `ISegmentStore`. Names of other shapes are passed over: they are not ours."""
        home = self._root / repository / "segments"
        with disk_errors(home):
            for directory in home.iterdir():
                if not _DIRECTORY.fullmatch(directory.name):
                    continue
                for name in os.listdir(directory):
                    number = SegmentNumber(int(name, 16)) if _FILE.fullmatch(name) else None
                    if number is not None and _directory_of(number) == directory.name:
                        yield number

    def strays(self, repository: RepositoryName) -> Iterator[str]:
        """See `ISegmentStore`."""
        home = self._root / repository / "segments"
        with disk_errors(home):
            for directory in home.iterdir():
                if not _DIRECTORY.fullmatch(directory.name) or not directory.is_dir():
                    yield str(directory)
                    continue
                for name in os.listdir(directory):
                    path = directory / name
                    if not _FILE.fullmatch(name) or (
                        path_of(home, SegmentNumber(int(name, 16))) != path
                    ):
                        yield str(path)

    def delete(self, repository: RepositoryName, segments: Iterable[SegmentNumber]) -> None:
        """See `ISegmentStore`."""
        directories = set()
        for segment in segments:
            with self._lock:
                self._open.pop((repository, segment), None)
            path = self._path(repository, segment)
            with disk_errors(path):
                if path.exists():
                    self._files.remove(path)
                    directories.add(path.parent)
        # Each once: to wait for the disk takes longer than all else.
        for directory in sorted(directories):
            with disk_errors(directory):
                self._files.sync_directory(directory)

    def settle(self, repository: RepositoryName) -> int:
        """See `ISegmentStore`."""
        home = self._root / repository
        incoming = home / "incoming"
        count = 0
        with disk_errors(incoming):
            # A copy of a data directory may have been made without it, since nothing in it lasts.
            self._files.make_directory(incoming)
            for path in incoming.iterdir():
                self._files.remove(path)
                count += 1
            # A crash may have come between a rename and the fsync that makes it last.
            for directory in (home / "segments").iterdir():
                if _DIRECTORY.fullmatch(directory.name):
                    self._files.sync_directory(directory)
            self._files.sync_directory(home / "segments")
        return count

    def forget(self, repository: RepositoryName) -> None:
        """Let go of all descriptors of a repository that is gone."""
        with self._lock:
            for key in [key for key in self._open if key[0] == repository]:
                del self._open[key]

    def close(self) -> None:
        """Let go of all descriptors."""
        with self._lock:
            self._open.clear()

    def _opened(self, repository: RepositoryName, segment: SegmentNumber) -> _OpenSegment:
        key = (repository, segment)
        with self._lock:
            opened = self._open.get(key)
            if opened is not None:
                self._open.move_to_end(key)
                return opened
        opened = _OpenSegment(self._path(repository, segment))
        with self._lock:
            self._open[key] = opened
            if len(self._open) > OPEN_SEGMENTS_MAX:
                self._open.popitem(last=False)
        return opened

    def _path(self, repository: RepositoryName, segment: SegmentNumber) -> Path:
        return path_of(self._root / repository / "segments", segment)


def path_of(segments: Path, segment: SegmentNumber) -> Path:
    """Where a segment's file is, under a repository's directory of segments."""
    return segments / _directory_of(segment) / name_of(segment)


def _directory_of(segment: SegmentNumber) -> str:
    return f"{segment >> _DIRECTORY_SHIFT:04x}"
