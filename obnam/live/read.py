"""Open and read the regular files that a scan saw. Used by the workers of the process pool.

What lies at a path when it is read need not be what the scan saw there. Nothing here waits for
the other end of a FIFO, follows a link in the last place, or reads anything but a regular file;
the device and inode that the scan saw tell a file that was reached through a swapped directory.

Live data is not to suffer from being read: access times are left alone where that is allowed, and
the page cache is not emptied of what the user had in it.
"""

import errno
import os
import stat
from collections.abc import Iterator

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""``O_NONBLOCK``: a FIFO that took the file's place opens at once, and is then refused."""

PATH_MAX = 4096
"""Longest path, with its closing NUL, that one Linux system call takes: ``limits.h``."""

HUGE_BYTES = 8 << 20
"""From this size on, `advise` is worth its system calls."""

_UNIT_BYTES = 512
"""Unit of ``st_blocks``: stat(2)."""

Identity = tuple[int, int]
"""``(st_dev, st_ino)``."""


class Replaced(OSError):
    """Something else stands where the scan saw a regular file. Scanning again would tell what."""


def open_regular(
    path: bytes, expected: Identity | None = None, directory: int | None = None
) -> tuple[int, os.stat_result]:
    """Open a regular file for reading; its descriptor, and its status after it was opened.

    ``path`` is absolute, of any length; or a name relative to the descriptor ``directory``.
    With ``expected``, no other file will do. Raises `Replaced`, or ``OSError`` as ``open`` does.
    """
    try:
        descriptor = _open(path, READ_FLAGS, directory)
    except OSError as error:
        # A link has taken its place (ELOOP), or a socket (ENXIO).
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _replaced(path) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _replaced(path)
        if expected is not None and (status.st_dev, status.st_ino) != expected:
            raise _replaced(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def data_ranges(
    descriptor: int, status: os.stat_result, start: int = 0
) -> Iterator[tuple[int, int]]:
    """Where a file has data, from ``start`` to the size in ``status``: (offset, length), bytes.

    What lies between is a hole, and reads as zeros. A file with as much room on disk as it is long
    is taken to have none, without asking. A file system that knows nothing of holes gives one
    range. Ranges are neither empty nor adjacent.
    """
    end = status.st_size
    if start >= end:
        return
    if status.st_blocks * _UNIT_BYTES >= end:
        yield start, end - start
        return
    position = start
    while position < end:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                yield position, end - position
                return
            raise
        if begin >= end:
            return
        position = min(os.lseek(descriptor, begin, os.SEEK_HOLE), end)
        yield begin, position - begin


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill ``view`` from ``offset`` on; how many bytes there were, fewer only at the file's end."""
    done, wanted = 0, len(view)
    while done < wanted:
        step = os.preadv(descriptor, [view[done:] if done else view], offset + done)
        if step == 0:
            break
        done += step
    return done


def advise(descriptor: int, size: int) -> None:
    """Tell the kernel how a huge file will be read: in order, and once.

    "In order" doubles the read-ahead. "Once" keeps the pages from being counted as used, so that
    they, and not the user's, go first when memory is short (from Linux 6.3 on; nothing before).
    ``POSIX_FADV_DONTNEED`` is not used: it would also throw out what was in the cache before us.
    """
    if size < HUGE_BYTES:
        return
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_NOREUSE)


def _open(path: bytes, flags: int, directory: int | None) -> int:
    if len(path) >= PATH_MAX:
        return _open_long(path, flags, directory)
    try:
        return os.open(path, flags | os.O_NOATIME, dir_fd=directory)
    except OSError as error:
        # Only a file's owner, or root, may leave its access time alone.
        if error.errno != errno.EPERM:
            raise
    return os.open(path, flags, dir_fd=directory)


def _open_long(path: bytes, flags: int, directory: int | None) -> int:
    """Open a path that is too long for one call, in steps that are not."""
    at, rest = directory, path
    try:
        while len(rest) >= PATH_MAX:
            cut = rest.rfind(b"/", 1, PATH_MAX)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            step = os.open(rest[:cut], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
            if at is not None and at != directory:
                os.close(at)
            at, rest = step, rest[cut:].lstrip(b"/")
        return _open(rest, flags, at)
    finally:
        if at is not None and at != directory:
            os.close(at)


def _replaced(path: bytes) -> Replaced:
    return Replaced(errno.ESTALE, "replaced by something else while it was backed up", path)
