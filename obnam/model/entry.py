"""Entries: what kinds of them live data has, and why one is in a generation as it is.

The numbers are part of the generation database's schema; the letters are what people see.
"""

from enum import IntEnum

from attrs import frozen


class Kind(IntEnum):
    """What an entry is. The letters are those of ``find -printf %y``."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER_DEVICE = 6
    BLOCK_DEVICE = 7

    @property
    def letter(self) -> str:
        """One letter for people: ``f``, ``d``, ``l``, ``p``, ``s``, ``c`` or ``b``."""
        return _LETTERS[self]


_LETTERS = {
    Kind.FILE: "f",
    Kind.DIRECTORY: "d",
    Kind.SYMLINK: "l",
    Kind.FIFO: "p",
    Kind.SOCKET: "s",
    Kind.CHARACTER_DEVICE: "c",
    Kind.BLOCK_DEVICE: "b",
}


class Reason(IntEnum):
    """Why an entry is in a generation as it is."""

    NEW = 1
    CHANGED = 2
    UNCHANGED = 3
    ERROR = 4
    SKIPPED = 5

    @property
    def word(self) -> str:
        """The word for people and for JSON: the name in lower case."""
        return self.name.lower()


Attributes = tuple[tuple[bytes, bytes], ...]
"""Extended attributes (POSIX ACLs among them): names and values, sorted by name."""


@frozen
class Metadata:
    """All that is set on an entry after it was made.

    ``mode`` holds the permission bits only (``0o7777``, with setuid, setgid and sticky);
    ``mtime_ns`` counts from the epoch and may be negative.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: Attributes = ()
