"""Files that a restore has begun, and finds again by their names."""

import errno
import os
import stat

from attrs import frozen

Parts = tuple[bytes, ...]
"""The way from the target to a directory, name by name; ``()`` is the target itself."""

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@frozen
class NewFile:
    """A file that is being written: where it will be, and the name that it has until then.

    ``temporary`` is ``name`` itself where nothing had to be replaced. Can be pickled: other
    processes write to the same file with `Target.reopen`, and one of them finishes it.

    ``owner``: whose it was when it was made. Who may write to the directory, too, can put a file of
    his own in its place, and keep it open; it shall not become setuid, or another user's.
    """

    parts: Parts
    name: bytes
    temporary: bytes
    owner: int


def open_again(directory: int, name: bytes, file: NewFile) -> int:
    """Open a file that was begun, in an open directory. ``OSError``; ``ESTALE``: it is another."""
    descriptor = os.open(name, _FLAGS, dir_fd=directory)
    status = os.fstat(descriptor)
    # Not by its inode: there are file systems, of FUSE for one, that give it another number.
    is_ours = status.st_uid == file.owner and status.st_nlink <= 1
    if not stat.S_ISREG(status.st_mode) or not is_ours:
        os.close(descriptor)
        raise OSError(errno.ESTALE, "replaced while it was restored", name)
    return descriptor
