"""The directory that a restore goes into: made or checked once, then opened by every process."""

import errno
import os

from attrs import frozen

from obnam.errors import BadTarget
from obnam.live.overwrite import Overwrite
from obnam.live.read import Identity, identity_of
from obnam.model.entry import printable

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DEFAULT_ACL = b"system.posix_acl_default"


@frozen
class TargetTicket:
    """What the processes of a restore need to know to work on the same target; can be pickled.

    ``clean``: the target held something before, or hands down an ACL to what is made in it, so
    attributes that are not in the generation must be looked for and removed.
    """

    path: bytes
    identity: Identity
    overwrite: Overwrite | None
    clean: bool


def prepare_target(path: bytes, overwrite: Overwrite | None = None) -> TargetTicket:
    """Make the target directory, or check the one that is there.

    A link in the path is followed: the user named it. Without ``overwrite``, it must be empty.
    Raises `BadTarget`.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        problem = "cannot be made: make the directory above it first"
        raise BadTarget(printable(path), problem) from error
    except OSError as error:
        raise BadTarget(printable(path), f"cannot be made: {_text(error)}") from error
    descriptor = _open(path)
    try:
        empty = not os.listdir(descriptor)
        if not empty and overwrite is None:
            raise BadTarget(
                printable(path),
                "is not empty. Name a new directory, or say by "
                "--overwrite never|if-changed|always what is to happen to what is there",
            )
        if not os.access(b".", os.W_OK | os.X_OK, dir_fd=descriptor, effective_ids=True):
            raise BadTarget(printable(path), _why_not_writable(descriptor))
        identity = identity_of(os.fstat(descriptor))
        return TargetTicket(path, identity, overwrite, not empty or _hands_down(descriptor))
    finally:
        os.close(descriptor)


def open_target(ticket: TargetTicket) -> int:
    """A descriptor of the target. Raises `BadTarget` when another directory stands there now."""
    descriptor = _open(ticket.path)
    if identity_of(os.fstat(descriptor)) != ticket.identity:
        os.close(descriptor)
        raise BadTarget(printable(ticket.path), "was replaced while it was restored into")
    return descriptor


def _open(path: bytes) -> int:
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        raise BadTarget(printable(path), f"cannot be used: {_text(error)}") from error


def _why_not_writable(descriptor: int) -> str:
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return "is on a disk that can only be read; mount it writable, or name another directory"
    return "is not writable for you"


def _hands_down(descriptor: int) -> bool:
    try:
        os.getxattr(descriptor, _DEFAULT_ACL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _text(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
