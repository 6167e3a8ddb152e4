"""Rows of the generation database as values, in the order of the schema's columns."""

from typing import NamedTuple

from obnam.model.ids import ChunkId


class EntryRow(NamedTuple):
    """One row of ``entry``; what each column means stands in ``sql/1.0.sql``."""

    directory: int
    name: bytes
    kind: int
    reason: int
    since: int
    mode: int | None
    uid: int | None
    gid: int | None
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None
    inode: int | None
    device: int | None
    checksum: bytes | None
    chunk: int | None
    start: int | None
    number: int | None
    attributes: bytes | None
    target: bytes | None


WholeFile = tuple[int, bytes, int, int, int, int, int, int, int, int, int, bytes, int, int]
"""The row of a file as most are: all its content in one extent, one link, no attributes.

Directory, name, reason, since, mode, uid, gid, size, mtime_ns, ctime_ns, inode, checksum, chunk,
start. A plain tuple, because there is one for each file of a first backup: named ones take five
times as long on their way from a worker.
"""


class ExtentRow(NamedTuple):
    """Where a part of a file lies: ``length`` bytes at ``position`` of the file."""

    position: int
    chunk: int
    start: int
    length: int


class ChunkRow(NamedTuple):
    """One chunk: its number in this generation's database, its id, its plaintext's length."""

    number: int
    id: ChunkId
    length: int


class KnownRow(NamedTuple):
    """What the previous generation knows of an entry, as far as planning needs it."""

    name: bytes
    kind: int
    reason: int
    since: int
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None
    inode: int | None
    device: int | None
    number: int | None


class Orphan(NamedTuple):
    """A link to a file that was not read under its first name: where it is, and its mark.

    Number and path of its directory, its name there; reason and sequence number.
    """

    directory: int
    path: bytes
    name: bytes
    reason: int
    since: int
