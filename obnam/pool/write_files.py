"""Jobs of a restore: open chunks, check files, write them. Sealed bytes lie in a slab."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from obnam.errors import HostileEntry, TargetFull
from obnam.inodes import lacks_inodes
from obnam.live.apply import NOTHING_MISSED, Missed
from obnam.live.begun import NewFile, Parts
from obnam.live.content import write_at
from obnam.live.metadata import NONE, decode_attributes
from obnam.live.read import data_ranges, read_into
from obnam.live.target import TargetTicket
from obnam.live.write import Target
from obnam.model.entry import Kind, Metadata, printable
from obnam.pool.checksum import ContentChecksum
from obnam.pool.open_chunks import (
    ChunkUnusable,
    Content,
    Extents,
    OpenChunks,
    SealedChunk,
    checksum,
)
from obnam.pool.worker import Tools

READ_BYTES = 1 << 20
"""Read at once when a large file is checked: stays in the processor's cache while it is summed."""

WRONG_CHECKSUM = "its content is not what was backed up (wrong checksum)"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileToWrite(NamedTuple):
    """A file with its metadata; ``attributes`` encoded.

    ``extents`` is empty for a file that comes part by part.
    """

    name: bytes
    size: int
    checksum: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: bytes | None
    extents: Extents


class EntryToMake(NamedTuple):
    """What has no content: a symbolic link, or a special file."""

    name: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: bytes | None
    device: int
    leads_to: bytes


FileInChunk = tuple[bytes, int, bytes, int, int, int, int, bytes | None, int, int]
"""A file whose content lies in one chunk, as that of nearly all does.

The fields of `FileToWrite` but for its extents, then chunk and start there, as in `Extents`. A
plain tuple without another in it, which is sent to a worker in a third of the time.
"""


class Group(NamedTuple):
    """Entries to make in one directory.

    A job counts files in a chunk first, then other ``files`` (some have no content), then others.
    """

    parts: Parts
    in_chunk: list[FileInChunk]
    files: list[FileToWrite]
    others: list[EntryToMake]

    def all_files(self) -> Iterator[FileToWrite]:
        """Its files, in the order in which a job counts them."""
        return chain(map(with_extents, self.in_chunk), self.files)


def with_extents(file: FileInChunk) -> FileToWrite:
    """The same with the name of each field."""
    *fields, chunk, start = file
    return FileToWrite._make((*fields, ((0, chunk, start, file[1]),)))


class Written(NamedTuple):
    """What became of entries, which are counted over all groups of the job, from 0.

    ``kept``: what stood there was left. ``troubles``: not restored, and why. ``missed``: restored
    but for its owner or for some attributes.
    """

    kept: list[int]
    troubles: list[tuple[int, str]]
    missed: list[tuple[int, Missed]]


def write_files(
    tools: Tools,
    slab_name: str | None,
    chunks: Sequence[SealedChunk],
    groups: Sequence[Group],
    ticket: TargetTicket,
) -> Written:
    """Write files that are whole, each checked before anything of it is written.

    Raises `TargetFull`; what else goes wrong with one entry does not stop the others.
    """
    slab = memoryview(b"") if slab_name is None else tools.slab(slab_name)
    opened = OpenChunks(tools, slab, chunks, _uses(groups))
    target = joined_target(tools, ticket)
    written = Written([], [], [])
    index = -1
    for parts, in_chunk, files, others in groups:
        entries: Iterator[tuple[Callable[..., Missed | None], Any]] = chain(
            zip(repeat(_write_in_chunk), in_chunk),
            zip(repeat(_write_file), files),
            zip(repeat(_make), others),
        )
        for write, each in entries:
            index += 1
            try:
                missed = write(target, parts, each, opened)
            except FAILURES as error:
                written.troubles.append((index, why(error, ticket)))
            else:
                if missed is None:
                    written.kept.append(index)
                elif missed is not NOTHING_MISSED:
                    written.missed.append((index, missed))
    return written


def write_part(
    tools: Tools,
    slab_name: str,
    chunks: Sequence[SealedChunk],
    extents: Extents,
    ticket: TargetTicket,
    file: NewFile,
) -> str | None:
    """Write a part of a file that was begun. Answers what went wrong, if something did."""
    try:
        content = OpenChunks(tools, tools.slab(slab_name), chunks).content(extents)
        descriptor = joined_target(tools, ticket).reopen(file)
        try:
            write_content(descriptor, content)
        finally:
            os.close(descriptor)
    except FAILURES as error:
        return why(error, ticket)
    return None


def finish_file(
    tools: Tools, ticket: TargetTicket, file: NewFile, entry: FileToWrite
) -> Missed | str:
    """Read back a file whose parts are all written, check it, and give it metadata and name.

    Answers what went wrong instead; then the file is gone.
    """
    target = joined_target(tools, ticket)
    try:
        descriptor = target.reopen(file)
        if read_checksum(descriptor) != entry.checksum:
            target.abandon(file, descriptor)
            return WRONG_CHECKSUM
        return target.finish(file, descriptor, _metadata(entry), entry.size)
    except FAILURES as error:
        return why(error, ticket)


def read_checksum(descriptor: int) -> bytes:
    """The xxh3-128 of an open file, holes as zeros."""
    size = os.fstat(descriptor).st_size
    digest = ContentChecksum()
    room = memoryview(bytearray(min(size, READ_BYTES)))
    for start, length in data_ranges(descriptor, size):
        position, stop = start, start + length
        while position < stop:
            got = read_into(descriptor, room[: min(len(room), stop - position)], position)
            if not got:
                break  # It became shorter, and so the sum will differ.
            digest.update(position, room[:got])
            position += got
    return digest.finish(size)


def write_content(descriptor: int, content: Content) -> None:
    """Write what a file has; pieces that touch each other by one call."""
    start = end = 0
    pieces: list[memoryview] = []
    for position, data in content:
        if position != end and pieces:
            write_at(descriptor, pieces, start)
            pieces = []
        if not pieces:
            start = position
        pieces.append(data)
        end = position + len(data)
    if pieces:
        write_at(descriptor, pieces, start)


FAILURES = (OSError, HostileEntry, ChunkUnusable, ValueError, OverflowError)
"""What can go wrong with one entry; numbers from a hostile generation can be out of range."""


def why(error: Exception, ticket: TargetTicket) -> str:
    """What went wrong with an entry, for people. Raises `TargetFull` if that it is."""
    if isinstance(error, HostileEntry):
        return error.problem
    if isinstance(error, ChunkUnusable):
        return str(error)
    if isinstance(error, OSError):
        if error.errno in _FULL:
            raise TargetFull(printable(ticket.path), lacks_inodes(ticket.path)) from error
        return (error.strerror or str(error)).lower()
    return f"its metadata make no sense ({error})"


def joined_target(tools: Tools, ticket: TargetTicket) -> Target:
    """The target of a restore, opened once by each worker."""
    return tools.kept(ticket, lambda: Target.join(ticket))


def _uses(groups: Iterable[Group]) -> Iterator[int]:
    """The chunk of each piece that the files of a job need."""
    for _, in_chunk, files, _ in groups:
        for *_, chunk, _ in in_chunk:
            yield chunk
        for file in files:
            for _, chunk, _, _ in file.extents:
                yield chunk


def _write_in_chunk(
    target: Target, parts: Parts, file: FileInChunk, opened: OpenChunks
) -> Missed | None:
    """Write a file that is a piece of a chunk. All that is done here is done for each file."""
    name, size, expected, mode, uid, gid, mtime_ns, encoded, chunk, start = file
    data = opened.piece(chunk, start, size)
    if xxh3_128_digest(data) != expected:
        raise HostileEntry(printable(name), WRONG_CHECKSUM)
    attributes = NONE if encoded is None else decode_attributes(encoded)
    return target.write_file(parts, name, data, Metadata(mode, uid, gid, mtime_ns, attributes))


def _write_file(
    target: Target, parts: Parts, file: FileToWrite, opened: OpenChunks
) -> Missed | None:
    name, size, mtime_ns = file.name, file.size, file.mtime_ns
    content = opened.content(file.extents)
    if checksum(content, size) != file.checksum:
        raise HostileEntry(printable(name), WRONG_CHECKSUM)
    metadata = _metadata(file)
    if not size:
        return target.write_file(parts, name, b"", metadata)
    begun = target.create(parts, name, size, mtime_ns)
    if begun is None:
        return None
    new, descriptor = begun
    try:
        write_content(descriptor, content)
    except BaseException:
        target.abandon(new, descriptor)
        raise
    end = content[-1][0] + len(content[-1][1]) if content else 0
    return target.finish(new, descriptor, metadata, size if end != size else None)


def _make(target: Target, parts: Parts, entry: EntryToMake, _opened: OpenChunks) -> Missed | None:
    if entry.kind == Kind.SYMLINK:
        return target.make_symlink(parts, entry.name, entry.leads_to, _metadata(entry))
    kind = Kind(entry.kind)
    return target.make_special(parts, entry.name, kind, _metadata(entry), entry.device)


def _metadata(entry: FileToWrite | EntryToMake) -> Metadata:
    attributes = NONE if entry.attributes is None else decode_attributes(entry.attributes)
    return Metadata(entry.mode, entry.uid, entry.gid, entry.mtime_ns, attributes)
