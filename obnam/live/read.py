"""Open and read the regular files that a scan saw. Used by the workers of the process pool.

What lies at a path when it is read need not be what the scan saw there. Nothing here waits for
the other end of a FIFO, follows a link in the last place, or reads anything but a regular file.
A directory's device and inode tell when its path leads elsewhere by now, through a swapped link:
otherwise whoever may write to one root could have files of others backed up as theirs.

Live data is not to suffer from being read: access times are left alone where that is allowed, and
the page cache is not emptied of what the user had in it.
"""

import errno
import os
import stat
from collections.abc import Iterator

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""``O_NONBLOCK``: a FIFO that took the file's place opens at once, and is then refused."""

_SPARING_FLAGS = READ_FLAGS | os.O_NOATIME

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

PATH_MAX = 4096
"""Longest path, with its closing NUL, that one Linux system call takes: ``limits.h``."""

HOLES_MAX_BYTES = 64 << 40
"""Holes of a file that is backed up. Anyone can make a file of 8 EiB that takes no room; to sum up
its zeros takes 25 seconds a TiB, at each backup that reads it, and at each restore."""

HUGE_BYTES = 8 << 20
"""From this size on, `advise` is worth its system calls."""

Identity = tuple[int, int]
"""``(st_dev, st_ino)``."""


class Replaced(OSError):
    """Something else stands where the scan saw a file or directory (errno ``ESTALE``)."""


def identity_of(status: os.stat_result) -> Identity:
    """What tells one file or directory from all others that exist at the same time."""
    return status.st_dev, status.st_ino


def open_directory(path: bytes, expected: Identity | None = None) -> int:
    """Open a directory by its absolute path, of any length.

    With ``expected``, no other directory will do. Raises `Replaced` and ``OSError``.
    """
    at, rest = None, path
    try:
        while len(rest) >= PATH_MAX:
            cut = rest.rfind(b"/", 1, PATH_MAX)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            step = os.open(rest[:cut], _STEP_FLAGS, dir_fd=at)
            if at is not None:
                os.close(at)
            at, rest = step, rest[cut:].lstrip(b"/")
        descriptor = os.open(rest, DIRECTORY_FLAGS, dir_fd=at)
    except NotADirectoryError as error:
        raise _replaced(path) from error
    finally:
        if at is not None:
            os.close(at)
    if expected is not None and identity_of(os.fstat(descriptor)) != expected:
        os.close(descriptor)
        raise _replaced(path)
    return descriptor


def open_regular(
    name: bytes, directory: int | None = None, expected: Identity | None = None
) -> int:
    """Open a regular file for reading, by its name in an open directory, or by its path.

    With ``expected``, no other file will do. Raises `Replaced`, or ``OSError`` as ``open`` does.
    """
    return open_with_status(name, directory, expected)[0]


def open_with_status(
    name: bytes, directory: int | None = None, expected: Identity | None = None
) -> tuple[int, os.stat_result]:
    """The same, with the status of the opened file, which had to be looked at anyway."""
    try:
        try:
            descriptor = os.open(name, _SPARING_FLAGS, dir_fd=directory)
        except PermissionError as error:
            # Only a file's owner, or root, may leave its access time alone.
            if error.errno != errno.EPERM:
                raise
            descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    except OSError as error:
        # A link has taken its place (ELOOP), or a socket, or a device without a driver (ENXIO).
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _replaced(name) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _replaced(name)
        if expected is not None and identity_of(status) != expected:
            raise _replaced(name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def refuse_too_hollow(status: os.stat_result) -> None:
    """Raises ``OSError`` (``EFBIG``) for a file with more holes than `HOLES_MAX_BYTES`."""
    if status.st_size - status.st_blocks * 512 > HOLES_MAX_BYTES:
        text = (
            f"more than {HOLES_MAX_BYTES >> 40} TiB of it are holes. Make it smaller, or move it "
            f"out of the roots"
        )
        raise OSError(errno.EFBIG, text)


def data_ranges(descriptor: int, size: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where a file of ``size`` bytes has data, from ``start`` on: (offset, length), in bytes.

    What lies between is a hole, and reads as zeros. A file system that knows nothing of holes
    gives one range. Ranges are never empty. Two calls of ``lseek`` tell that a file has no hole:
    cheaper than to ask how much room it has on disk, and true for compressing file systems too.
    """
    position = start
    while position < size:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                yield position, size - position
                return
            raise
        if begin >= size:
            return
        try:
            position = min(os.lseek(descriptor, begin, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # It became shorter in between, as a reader would see.
                return
            raise
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


def _replaced(name: bytes) -> Replaced:
    return Replaced(errno.ESTALE, "replaced by something else while it was backed up", name)
