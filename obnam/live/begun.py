"""Files that a restore has begun, and finds again by their names."""

import errno
import os

from attrs import frozen

from obnam.live.read import Identity, identity_of

Parts = tuple[bytes, ...]
"""The way from the target to a directory, name by name; ``()`` is the target itself."""

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@frozen
class NewFile:
    """A file that is being written: where it will be, and the name that it has until then.

    ``temporary`` is ``name`` itself where nothing had to be replaced. Can be pickled: other
    processes write to the same file with `Target.reopen`, and one of them finishes it.

    ``identity`` tells it from any other. Who may write to the directory, too, can put another file
    in its place: that shall not be written to, nor become setuid or another user's, nor be removed.
    Whoever keeps the file open meanwhile can rely on it: then no other file gets the number, nor
    does this one get another, as it may in file systems that make numbers up (some of FUSE).
    """

    parts: Parts
    name: bytes
    temporary: bytes
    identity: Identity


def open_again(directory: int, name: bytes, file: NewFile) -> int:
    """Open a file that was begun, in an open directory. ``OSError``; ``ESTALE``: it is another."""
    descriptor = os.open(name, _FLAGS, dir_fd=directory)
    status = os.fstat(descriptor)
    if identity_of(status) != file.identity or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.ESTALE, "replaced while it was restored", name)
    return descriptor


def remove_begun(directory: int, name: bytes, file: NewFile) -> None:
    """Remove a file that was begun, in an open directory. What was put in its place stays."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if identity_of(status) == file.identity:
        os.unlink(name, dir_fd=directory)
