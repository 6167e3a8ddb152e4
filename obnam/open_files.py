"""How many files this process may have open at once, be it directories or connections."""

import errno
import resource

WANTED = 4096
"""What a client asks for: far more than it needs."""

LEAST = 64
"""With fewer, a client, or the server that it starts, could not do anything; found by trying."""

DIRECTORIES_MOST = 128
"""Directories that a walk, or a restore, keeps open."""

_SHARE = 4
"""One in so many may be a directory that is only kept: the others are needed at once."""


def allow(wanted: int = WANTED) -> int:
    """Have as many allowed as the system lets us; how many that are.

    Many systems start programs with 1024 allowed, for the sake of very old ones.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def require() -> None:
    """The same, and ``OSError`` (``EMFILE``) when that is too few for anything."""
    allowed = allow()
    if allowed < LEAST:
        raise OSError(
            errno.EMFILE,
            f"only {allowed} files may be open at once, and {LEAST} are needed: raise the limit "
            f"(`ulimit -n`)",
        )


def directories_kept() -> int:
    """How many directories to keep open: at least a few, or each file would open all above it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return DIRECTORIES_MOST
    return max(2, min(DIRECTORIES_MOST, soft // _SHARE))
