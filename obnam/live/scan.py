"""Walk a root: directory by directory, names in byte order, one ``lstat`` per entry.

Directories are opened relative to the descriptor of their parent and never through a link, so
nothing that is moved or swapped while the walk runs leads it out of the root, and paths may be
longer than ``PATH_MAX``. Memory holds the names of the directories on the way down, never the
stats of more than ``SLICE_ENTRIES`` entries.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from obnam.errors import BadRoot
from obnam.live.read import DIRECTORY_FLAGS, READ_FLAGS, Identity, identity_of
from obnam.model.entry import printable
from obnam.open_files import directories_kept

SLICE_ENTRIES = 4096
"""Entries of one listing at most: about 2 MB of names and stats."""

DEPTH_MAX = 4096
PATH_BYTES_MAX = 64 << 10
"""How deep a walk is to go. The paths of all directories on the way down take memory that grows
with the square of these, 130 MB at most; what programs make has a few dozen and 4096."""

CACHE_TAG_NAME = b"CACHEDIR.TAG"
CACHE_TAG_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""Start of a tag's content, from https://bford.info/cachedir/."""

Found = os.stat_result | OSError
"""What ``lstat`` of an entry gave; ``FileNotFoundError`` when it vanished since it was listed."""


@frozen
class Listing:
    """One directory, or of a huge one a slice of at most ``SLICE_ENTRIES`` entries.

    ``path`` is absolute and may be longer than ``PATH_MAX``. ``names`` (in byte order) and
    ``stats`` go together. ``descriptor`` is the open directory, to read its entries' links and
    attributes relative to it, until the walk is asked for the next listing; -1 when it could not
    be opened. ``error`` says that the directory could not be read or searched, so that ``names``
    may be incomplete: an entry that is not among them may still be there.
    """

    path: bytes
    first: bool
    last: bool
    names: list[bytes]
    stats: list[Found]
    error: OSError | None
    descriptor: int


@define
class _Visit:
    """A directory on the way down; ``descriptor`` is -1 while it is closed to save one."""

    path: bytes
    name: bytes
    descriptor: int
    names: list[bytes]
    listed: int = 0
    error: OSError | None = None
    entered: list[bytes] = field(factory=list)
    identity: Identity | None = None


@define
class Walk(Iterator[Listing]):
    """All directories below ``root`` that the caller enters, depth first.

    The caller says by `enter`, before it asks for the next listing, which entries of the current
    one are to be walked; by default none is. They are walked after the last slice of their
    directory, in byte order. ``root_status`` is the root's own ``stat``.

    Raises `BadRoot` when the root is missing, a link, not a directory, or cannot be opened. Close
    it, or use it as a context, when it is not walked to its end.
    """

    root: bytes
    root_status: os.stat_result = field(init=False)
    _root_descriptor: int = field(init=False, default=-1)
    _way: list[_Visit] = field(init=False, factory=list)
    _current: _Visit | None = field(init=False, default=None)
    # Descriptors that are kept, besides the root's: deeper trees close and reopen them.
    _kept: int = field(init=False, factory=directories_kept)

    def __attrs_post_init__(self) -> None:
        try:
            self._root_descriptor = os.open(self.root, DIRECTORY_FLAGS)
        except OSError as error:
            raise BadRoot(printable(self.root), _why_bad(self.root, error)) from error
        self.root_status = os.fstat(self._root_descriptor)
        self._push(self.root, b"", os.dup(self._root_descriptor))

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors. May be called again."""
        for visit in self._way:
            _close(visit)
        self._way.clear()
        self._current = None
        if self._root_descriptor >= 0:
            os.close(self._root_descriptor)
            self._root_descriptor = -1

    def enter(self, names: Iterable[bytes]) -> None:
        """Walk these entries of the current listing too."""
        wanted = list(names)
        if not wanted:
            return
        if self._current is None:
            raise ValueError("the current listing has no entries that could be entered")
        self._current.entered.extend(wanted)

    def __next__(self) -> Listing:
        current = self._current
        if current is not None:
            if current.listed < len(current.names):
                return self._slice(current)
            # Sorted backwards, because they are taken from the end.
            current.entered.sort(reverse=True)
            self._current = None
        while self._way:
            above = self._way[-1]
            if above.listed == 0:
                self._current = above
                return self._slice(above)
            if above.entered:
                failed = self._descend(above, above.entered.pop())
                if failed is not None:
                    return failed
            else:
                self._leave()
        self.close()
        raise StopIteration

    def _slice(self, visit: _Visit) -> Listing:
        """The next entries of an open directory, with their stats."""
        start = visit.listed
        whole = start == 0 and len(visit.names) <= SLICE_ENTRIES
        names = visit.names if whole else visit.names[start : start + SLICE_ENTRIES]
        stats, error = _stats(visit.descriptor, names)
        # An empty directory is listed, too: one is more than its names' count.
        visit.listed = max(start + len(names), 1)
        last = visit.listed >= len(visit.names)
        return Listing(
            visit.path, start == 0, last, names, stats, visit.error or error, visit.descriptor
        )

    def _descend(self, above: _Visit, name: bytes) -> Listing | None:
        """Open a subdirectory; when that fails, a listing that says so."""
        path = above.path + name if above.path.endswith(b"/") else above.path + b"/" + name
        try:
            if above.descriptor < 0:
                above.descriptor = self._reopen(len(self._way) - 1)
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=above.descriptor)
        except OSError as error:
            return Listing(path, True, True, [], [], error, -1)
        self._push(path, name, descriptor)
        return None

    def _push(self, path: bytes, name: bytes, descriptor: int) -> None:
        names, error = _names(descriptor)
        self._way.append(_Visit(path, name, descriptor, names, error=error))
        if len(self._way) > self._kept:
            spared = self._way[-self._kept - 1]
            if spared.descriptor >= 0:
                spared.identity = identity_of(os.fstat(spared.descriptor))
                _close(spared)

    def _leave(self) -> None:
        """Go up by one; reopen the directory there, when it was closed, by ``..``."""
        done = self._way.pop()
        if self._way and self._way[-1].descriptor < 0 and self._way[-1].entered:
            above = self._way[-1]
            try:
                above.descriptor = _open_same(b"..", done.descriptor, above.identity)
            except OSError:
                # Moved, or not searchable: the way from the root is tried when it is needed,
                # and what fails there is reported.
                above.descriptor = -1
        _close(done)

    def _reopen(self, depth: int) -> int:
        """Open a directory that was closed, going down from the root by the names on the way."""
        descriptor = os.dup(self._root_descriptor)
        for visit in self._way[1 : depth + 1]:
            try:
                following = os.open(visit.name, DIRECTORY_FLAGS, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = following
        try:
            return _open_same(b".", descriptor, self._way[depth].identity)
        finally:
            os.close(descriptor)


def is_too_deep(path: bytes) -> bool:
    """Whether the directories in the one with this absolute path are too deep to be walked."""
    return len(path) > PATH_BYTES_MAX or path.count(b"/") >= DEPTH_MAX


def is_cache_directory(descriptor: int) -> bool:
    """Whether a directory holds a ``CACHEDIR.TAG`` with the signature, as a regular file.

    A tag that cannot be read is none: data is backed up in doubt.
    """
    try:
        tag = os.open(CACHE_TAG_NAME, READ_FLAGS, dir_fd=descriptor)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(tag).st_mode):
            return False
        return os.pread(tag, len(CACHE_TAG_SIGNATURE), 0) == CACHE_TAG_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(tag)


def _names(descriptor: int) -> tuple[list[bytes], OSError | None]:
    """All names of a directory, in byte order."""
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    try:
        # Listing a descriptor gives text; this is what os.fsencode does, but for its checks.
        names = [name.encode(encoding, errors) for name in os.listdir(descriptor)]
    except OSError as error:
        return [], error
    names.sort()
    return names, None


def _stats(descriptor: int, names: list[bytes]) -> tuple[list[Found], OSError | None]:
    """``lstat`` of each name; and the error, when the directory may not be searched.

    The hot loop of a scan: no function of ours and no value of ours per entry.
    """
    stats: list[Found] = []
    append, status = stats.append, os.lstat
    denied: OSError | None = None
    for name in names:
        try:
            append(status(name, dir_fd=descriptor))
        except PermissionError as error:
            denied = error
            append(error)
        except OSError as error:
            append(error)
    return stats, denied


def _open_same(name: bytes, directory: int, identity: Identity | None) -> int:
    """Open a directory that must be the one with this device and inode."""
    descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    if identity_of(os.fstat(descriptor)) != identity:
        os.close(descriptor)
        raise OSError(errno.ESTALE, "the directory was moved while it was walked")
    return descriptor


def _close(visit: _Visit) -> None:
    if visit.descriptor >= 0:
        os.close(visit.descriptor)
        visit.descriptor = -1


def _why_bad(root: bytes, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such directory"
    if isinstance(error, NotADirectoryError) and os.path.islink(root):
        return "it is a symbolic link; name the directory that it leads to"
    if isinstance(error, NotADirectoryError):
        return "it is not a directory"
    return (error.strerror or str(error)).lower()
