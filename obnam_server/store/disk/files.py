"""The few operations that change the disk, as a seam, and how their failures are named.

All of the store's writing except SQLite's goes through `IFiles`, so that tests can crash it
after any one of them.
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zope.interface import Interface, implementer

from obnam.inodes import lacks_inodes
from obnam_server.store.errors import StoreFailed, StoreFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_DIRECT = (errno.EINVAL, errno.EOPNOTSUPP)
"""No ``O_DIRECT`` here: on this file system, or not for such pages."""

_PIECES_MAX = 1024
"""IOV_MAX of Linux: buffers in one writev."""


class IFiles(Interface):
    """What is done to a disk. All raise `OSError`."""

    def create(path: Path) -> int:
        """A new file for writing, mode 0600; its descriptor. It must not exist."""

    def extend(path: Path) -> int:
        """A file that is there, to be appended to or cut off; its descriptor."""

    def append(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write all pieces."""

    def append_direct(descriptor: int, pages: memoryview) -> None:
        """Write whole pages at a whole page, past the page cache where that is possible.

        ``pages`` begin with a page of memory.
        """

    def truncate(descriptor: int, size_bytes: int) -> None:
        """Cut a file off."""

    def sync(descriptor: int) -> None:
        """Make a file's content durable."""

    def close(descriptor: int) -> None:
        """Close it."""

    def rename(source: Path, target: Path) -> None:
        """Give a file another name, in place of what has it."""

    def remove(path: Path) -> None:
        """Remove a file. One that is not there is fine."""

    def make_directory(path: Path) -> None:
        """Make a directory, mode 0700. One that is there is fine."""

    def sync_directory(path: Path) -> None:
        """Make the names in a directory durable."""


@implementer(IFiles)
class LocalFiles:
    """The real ones."""

    def create(self, path: Path) -> int:
        """See `IFiles`."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def extend(self, path: Path) -> int:
        """See `IFiles`."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        """See `IFiles`."""
        for first in range(0, len(pieces), _PIECES_MAX):
            self._append(descriptor, pieces[first : first + _PIECES_MAX])

    def _append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        left = sum(map(len, pieces))
        written = os.writev(descriptor, pieces)
        while written < left:
            # Short writes come with signals and nearly full disks; the next one tells which.
            left -= written
            rest: list[bytes | memoryview] = []
            for piece in pieces:
                if written < len(piece):
                    rest.append(memoryview(piece)[written:])
                    written = 0
                else:
                    written -= len(piece)
            pieces = rest
            written = os.writev(descriptor, pieces)

    def append_direct(self, descriptor: int, pages: memoryview) -> None:
        """See `IFiles`."""
        written = self._write_direct(descriptor, pages)
        if written < len(pages):
            # The file system or the disk cannot, or there is no more room: this will tell.
            self.append(descriptor, [pages[written:]])

    def _write_direct(self, descriptor: int, pages: memoryview) -> int:
        """How much of ``pages`` could be written."""
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
            try:
                return os.write(descriptor, pages)
            finally:
                fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
            return 0

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """See `IFiles`."""
        os.ftruncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        """See `IFiles`."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """See `IFiles`."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """See `IFiles`."""
        os.rename(source, target)

    def remove(self, path: Path) -> None:
        """See `IFiles`."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """See `IFiles`."""
        path.mkdir(mode=0o700, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """See `IFiles`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


LOCAL_FILES = LocalFiles()
"""They hold nothing, so one will do."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Name what the disk said: `StoreFull` when there is no room, else `StoreFailed`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(str(path), lacks_inodes(path.parent)) from error
        raise StoreFailed(str(path), error.strerror or str(error)) from error


def write_durably(files: IFiles, path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: all of it or what was there before, also after a crash."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        files.remove(temporary)
        try:
            descriptor = files.create(temporary)
            try:
                files.append(descriptor, [content])
                files.sync(descriptor)
            finally:
                files.close(descriptor)
            files.rename(temporary, path)
        except OSError:
            files.remove(temporary)  # its name is never used again
            raise
        files.sync_directory(path.parent)
