"""What the scan writes down of an entry that has no content, or none that could be read. Pure."""

from obnam.backup.plan import Entry, Status
from obnam.generation.rows import EntryRow
from obnam.live.metadata import encode_attributes
from obnam.model.entry import LINKED_KINDS, Attributes, Kind, Reason
from obnam.model.numbers import kept_inode, kept_time

_DEVICES = (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)


def row_of(
    directory: int, entry: Entry, number: int | None, attributes: Attributes, target: bytes | None
) -> EntryRow:
    """The row of an entry of ``directory``; ``number``: its own, if it is one itself."""
    status = entry.status
    return EntryRow(
        directory,
        entry.name,
        entry.kind.value,
        entry.mark.reason,
        entry.mark.since,
        status.st_mode & 0o7777,
        status.st_uid,
        status.st_gid,
        None,
        kept_time(status.st_mtime_ns),
        kept_time(status.st_ctime_ns),
        kept_inode(status.st_ino),
        _device_of(entry.kind, status),
        None,
        None,
        None,
        number,
        encode_attributes(attributes) if attributes else None,
        target,
    )


def error_row(directory: int, name: bytes, sequence: int) -> EntryRow:
    """The row of a file that is there, and of which nothing could be read."""
    nothing = (None,) * (len(EntryRow._fields) - 5)
    return EntryRow._make(
        (directory, name, Kind.FILE.value, Reason.ERROR.value, sequence, *nothing)
    )


def _device_of(kind: Kind, status: Status) -> int | None:
    """Of a device node its number; of what has several names the device that it lies on."""
    if kind in _DEVICES:
        return status.st_rdev
    return status.st_dev if kind in LINKED_KINDS and status.st_nlink > 1 else None
