"""Entries: what kinds of them live data has, and why one is in a generation as it is.

The numbers are part of the generation database's schema; the letters are what people see.
"""

import stat
from enum import IntEnum
from typing import NamedTuple


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


LINKED_KINDS = frozenset((Kind.FILE, Kind.SYMLINK, Kind.FIFO, Kind.SOCKET))
"""Kinds whose several names are kept as such: not device nodes, whose column has their number."""

_LETTERS = {
    Kind.FILE: "f",
    Kind.DIRECTORY: "d",
    Kind.SYMLINK: "l",
    Kind.FIFO: "p",
    Kind.SOCKET: "s",
    Kind.CHARACTER_DEVICE: "c",
    Kind.BLOCK_DEVICE: "b",
}


KIND_BY_FORMAT = {
    stat.S_IFREG >> 12: Kind.FILE,
    stat.S_IFDIR >> 12: Kind.DIRECTORY,
    stat.S_IFLNK >> 12: Kind.SYMLINK,
    stat.S_IFIFO >> 12: Kind.FIFO,
    stat.S_IFSOCK >> 12: Kind.SOCKET,
    stat.S_IFCHR >> 12: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK >> 12: Kind.BLOCK_DEVICE,
}
"""Kind by ``st_mode >> 12``, for loops over many entries."""


def kind_of(mode: int) -> Kind:
    """The kind that an ``st_mode`` says. Raises ``ValueError`` for one that Linux does not have."""
    try:
        return KIND_BY_FORMAT[mode >> 12]
    except KeyError:
        raise ValueError(f"no kind of entry has the mode {mode:o}") from None


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


class Metadata(NamedTuple):
    """All that is set on an entry after it was made. A tuple: a restore makes one for each file.

    ``mode`` holds the permission bits only (``0o7777``, with setuid, setgid and sticky);
    ``mtime_ns`` counts from the epoch and may be negative.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: Attributes = ()


_NO_NAMES = frozenset({b"", b".", b".."})
_SLASH, _NUL = b"/\0"


def is_entry_name(name: bytes) -> bool:
    """Whether it can be the name of an entry in a directory, and so leads to no other place.

    Asked twice of each file of a restore: to look for a byte by its number takes a tenth of the
    time that Python needs to look for it as ``bytes``.
    """
    return name not in _NO_NAMES and _SLASH not in name and _NUL not in name


def printable(name: bytes) -> str:
    """A file name or path as text that is safe to print and can be told from every other.

    Names may hold terminal codes, line breaks, and bytes that are not UTF-8: whatever is not a
    printable character, and the backslash, comes as a backslash escape.
    """
    text = name.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character == "\\" or not character.isprintable():
        return character.encode("unicode_escape").decode("ascii")
    return character
