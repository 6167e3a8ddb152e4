"""Reads files into a slab, one behind the other, and notes what is known of each."""

import errno
import os
from collections.abc import Iterable, Sequence

import xxhash

from obnam.live.metadata import encode_attributes, read_attributes
from obnam.live.read import data_ranges, open_directory, open_with_status, read_into
from obnam.model.numbers import kept_inode, kept_time
from obnam.pool.checksum import ContentChecksum
from obnam.pool.named import (
    SIZE,
    Extra,
    Group,
    Head,
    NamedFiles,
    Piece,
    Range,
    Rows,
    Trouble,
)

READ_TRIES = 3
"""How often a file is read that changes while it is read; then it is kept as it was read."""

SAYS_EMPTY = "it says that it is empty and is not, as the files of /proc do"
"""Why a file is no file of a backup: how much of it there is could only be found out by reading it,
and that may never end."""


class ReadFiles:
    """Files in a slab, until there is no room.

    ``heads`` are what is known of those that were read, and ``extras`` (by index) what only some
    have. ``ranges``, of sparse ones only, say which data lies where; of others all of it lies end
    to end, up to ``end``.
    """

    def __init__(self, slab: memoryview) -> None:
        self._slab = slab
        self.end = 0
        self.heads: list[Head] = []
        self.extras: dict[int, Extra] = {}
        self.ranges: list[list[Range]] = []
        self._troubles: list[Trouble] = []
        self._grown: list[tuple[Group, int]] = []
        self._changing: list[bytes] = []

    def end_to_end(self, groups: Iterable[Group]) -> None:
        """Read files whose holes, if there are any, are read as the zeros that they are."""
        self._all(groups, sparse=False)

    def sparse(self, groups: Iterable[Group]) -> None:
        """Read only what files have of data."""
        self._all(groups, sparse=True)

    def sizes(self) -> list[int]:
        """The files' sizes in bytes, in their order."""
        return [head[SIZE] for head in self.heads]

    def result(self, pieces: list[Piece], rows: Rows) -> NamedFiles:
        """What the job answers."""
        return NamedFiles(
            pieces,
            rows.whole,
            rows.rows,
            rows.extents,
            self._troubles,
            self._grown,
            self._changing,
            self.end,
        )

    def _all(self, groups: Iterable[Group], *, sparse: bool) -> None:
        """Read them all; what goes wrong with one is noted, and the next is read."""
        for group in groups:
            try:
                directory = open_directory(group.path, group.identity)
            except OSError as error:
                self._troubles.extend(trouble(group, name, error) for name in group.names)
                continue
            try:
                names = group.names if sparse else self._at_once(group, directory)
                for name in names:
                    try:
                        self._one(group, name, directory, sparse=sparse)
                    except OSError as error:
                        self._troubles.append(trouble(group, name, error))
            finally:
                os.close(directory)

    def _at_once(self, group: Group, directory: int) -> list[bytes]:
        """Read those files that one call reads; gives the names of the others.

        As `_one` does it, in a loop with few calls: it is run for each small file of a backup.
        """
        fstat, close, preadv, pread = os.fstat, os.close, os.preadv, os.pread
        digest = xxhash.xxh3_128_digest
        slab, end, room = self._slab, self.end, len(self._slab)
        heads, extras = self.heads, self.extras
        others: list[bytes] = []
        for name in group.names:
            try:
                descriptor, before = open_with_status(name, directory)
            except OSError:
                others.append(name)
                continue
            try:
                size = before.st_size
                stop = end + size
                view = slab[end:stop]
                if stop > room or (
                    preadv(descriptor, (view,), 0) != size if size else pread(descriptor, 1, 0)
                ):
                    others.append(name)
                    continue
                if not _same(before, fstat(descriptor)):
                    others.append(name)
                    continue
                head, extra = found(group, name, descriptor, before, size, digest(view))
            except OSError:
                others.append(name)
                continue
            finally:
                close(descriptor)
            if extra is not None:
                extras[len(heads)] = extra
            heads.append(head)
            end = stop
        self.end = end
        return others

    def _one(self, group: Group, name: bytes, directory: int, *, sparse: bool) -> None:
        descriptor, status = open_with_status(name, directory)
        try:
            for _ in range(READ_TRIES):
                size = status.st_size
                room = self._slab[self.end : self.end + size]
                if size > len(room):
                    self._grown.append((group._replace(names=[name]), size))
                    return
                ranges: list[Range] = []
                if sparse:
                    ranges, got = fill(descriptor, room, status, 0)
                else:
                    got = read_into(descriptor, room, 0)
                has_more = not size and os.pread(descriptor, 1, 0)
                before, status = status, os.fstat(descriptor)
                if got == size and _same(before, status):
                    if has_more:
                        raise OSError(errno.ENODATA, SAYS_EMPTY)
                    break
            else:
                self._changing.append(group.path + b"/" + name)
            if sparse:
                checksum, length = _checksum(room, ranges, got), filled(ranges)
                self.ranges.append([r._replace(offset=r.offset + self.end) for r in ranges])
            else:
                checksum, length = xxhash.xxh3_128_digest(room[:got]), got
            head, extra = found(group, name, descriptor, before, got, checksum)
            if extra is not None:
                self.extras[len(self.heads)] = extra
            self.heads.append(head)
            self.end += length
        finally:
            os.close(descriptor)


def found(
    group: Group,
    name: bytes,
    descriptor: int,
    status: os.stat_result,
    size: int,
    checksum: bytes,
) -> tuple[Head, Extra | None]:
    """What is known of an open file, of which ``size`` bytes were read."""
    attributes = read_attributes(descriptor)
    head = (
        group.directory,
        name,
        group.reason,
        group.since,
        status.st_mode & 0o7777,
        status.st_uid,
        status.st_gid,
        size,
        kept_time(status.st_mtime_ns),
        kept_time(status.st_ctime_ns),
        kept_inode(status.st_ino),
        checksum,
    )
    if not attributes and status.st_nlink <= 1:
        return head, None
    device = status.st_dev if status.st_nlink > 1 else None
    return head, (device, encode_attributes(attributes) or None)


def trouble(group: Group, name: bytes, error: OSError) -> Trouble:
    """What is said of a file that cannot be read."""
    return Trouble(
        group.directory, group.path, name, error.errno or 0, error.strerror or str(error)
    )


def fill(
    descriptor: int, room: memoryview, status: os.stat_result, start: int
) -> tuple[list[Range], int]:
    """Read the data from ``start`` on until there is no room; how far that reached in the file.

    Holes between data are skipped; a file that became shorter ends early.
    """
    ranges: list[Range] = []
    filled = 0
    for position, length in data_ranges(descriptor, status.st_size, start):
        take = min(length, len(room) - filled)
        got = read_into(descriptor, room[filled : filled + take], position)
        if got:
            ranges.append(Range(position, filled, got))
            filled += got
        if got < length:
            return ranges, position + got
    return ranges, status.st_size


def filled(ranges: Sequence[Range]) -> int:
    """How many bytes of the slab they take."""
    return ranges[-1].offset + ranges[-1].length if ranges else 0


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )


def _checksum(room: memoryview, ranges: Sequence[Range], size: int) -> bytes:
    """xxh3-128 of a file's content in memory, holes as zeros."""
    if len(ranges) == 1 and ranges[0].length == size:
        return xxhash.xxh3_128_digest(room[:size])
    content = ContentChecksum()
    for piece in ranges:
        content.update(piece.position, room[piece.offset : piece.offset + piece.length])
    return content.finish(size)
