"""What is to be done with the entries of one directory. Pure: values in, values out.

An entry is unchanged when kind, size, mtime_ns, ctime_ns and inode are those of the previous
generation. (A change of content, mode, owner or attributes moves ctime, which no user can set; but
see `obnam.backup.meanwhile`.)
"""

import stat
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from attrs import define, field

from obnam.backup.meanwhile import NEVER, Meanwhile
from obnam.generation.rows import KnownRow
from obnam.model.entry import KIND_BY_FORMAT, LINKED_KINDS, Kind, Reason
from obnam.model.numbers import kept_inode, kept_time


class Status(Protocol):
    """What planning looks at of an ``os.stat_result``."""

    @property
    def st_mode(self) -> int: ...  # noqa: D102
    @property
    def st_nlink(self) -> int: ...  # noqa: D102
    @property
    def st_size(self) -> int: ...  # noqa: D102
    @property
    def st_mtime_ns(self) -> int: ...  # noqa: D102
    @property
    def st_ctime_ns(self) -> int: ...  # noqa: D102
    @property
    def st_ino(self) -> int: ...  # noqa: D102
    @property
    def st_dev(self) -> int: ...  # noqa: D102
    @property
    def st_rdev(self) -> int: ...  # noqa: D102
    @property
    def st_uid(self) -> int: ...  # noqa: D102
    @property
    def st_gid(self) -> int: ...  # noqa: D102


class Mark(NamedTuple):
    """The reason that a row gets, and the sequence number of the generation that set it."""

    reason: int
    since: int


class Entry(NamedTuple):
    """An entry without content whose row is to be written: what it is now, and why."""

    name: bytes
    kind: Kind
    status: Status
    mark: Mark
    known: KnownRow | None


FileToRead = tuple[bytes, Status]
"""Name, and what it is now: a plain tuple, because a first backup has one for each file."""


@define
class Plan:
    """What is to be done with (a slice of) a directory."""

    read: dict[Mark, list[FileToRead]] = field(factory=dict)
    """Files whose content is to be read, by why."""
    write: list[Entry] = field(factory=list)
    """Entries without content whose rows are to be written."""
    enter: list[tuple[bytes, KnownRow | None]] = field(factory=list)
    """Directories to walk, with what is known of them."""
    failed: list[tuple[bytes, OSError]] = field(factory=list)
    """Entries that cannot even be looked at."""
    gone: list[bytes] = field(factory=list)
    """Names that are not there any more, or are something else now."""
    unchanged: int = 0
    unchanged_bytes: int = 0


_REGULAR = stat.S_IFREG >> 12

_LOOK_AGAIN = (Reason.ERROR, Reason.SKIPPED)
"""Entries with these reasons are never taken for unchanged."""


def plan_directory(
    names: Sequence[bytes],
    stats: Sequence[Status | OSError],
    known: Mapping[bytes, KnownRow],
    sequence: int,
    *,
    full: bool = False,
    again: Container[bytes] = frozenset(),
    complete: bool = True,
    meanwhile: Meanwhile = NEVER,
) -> Plan:
    """Compare what is there with the previous generation's rows of the same names.

    ``complete``: what is not among ``names`` is gone (else the directory could not be read).
    ``full``: read every file again, whatever its times say; ``again``: these. Their reason stays:
    they have not changed. ``meanwhile``: what changed then may have changed once more.
    """
    plan = Plan()
    get = known.get
    new, changed = Mark(Reason.NEW.value, sequence), Mark(Reason.CHANGED.value, sequence)
    # Most files are older: they cost a comparison.
    settled_ns, is_unsettled = meanwhile.earliest_ns, meanwhile.has
    read: list[FileToRead] = []
    entries: Iterable[tuple[bytes, Status | OSError]] = zip(names, stats, strict=True)
    if not known:
        entries = _without_new_files(entries, read)
    for name, status in entries:
        before = get(name)
        if isinstance(status, OSError):
            if not isinstance(status, FileNotFoundError):
                plan.failed.append((name, status))
            elif before is not None:
                plan.gone.append(name)
            continue
        kind = KIND_BY_FORMAT[status.st_mode >> 12]
        is_file = kind is Kind.FILE
        if before is not None and before.kind != kind:
            plan.gone.append(name)
            before = None
        if before is None and is_file:
            read.append((name, status))
            continue
        same = (
            before is not None
            and before.reason not in _LOOK_AGAIN
            and (status.st_ctime_ns < settled_ns or not is_unsettled(status.st_ctime_ns))
            # `_is_as_kept` alone would do: the bare comparison comes first because it is true of
            # nearly every entry of a backup, and makes no calls.
            and (
                (
                    before.mtime_ns == status.st_mtime_ns
                    and before.ctime_ns == status.st_ctime_ns
                    and before.inode == status.st_ino
                )
                or _is_as_kept(before, status)
            )
            and (
                not is_file
                or (
                    before.size == status.st_size
                    and (status.st_nlink == 1 or before.device == status.st_dev)
                )
            )
        )
        if kind is Kind.DIRECTORY:
            plan.enter.append((name, before))
        if same and not ((full or name in again) if is_file else _is_moved(kind, before, status)):
            plan.unchanged += 1
            plan.unchanged_bytes += status.st_size if is_file else 0
            continue
        if before is None:
            mark = new
        elif same:
            mark = Mark(before.reason, before.since)
        else:
            mark = changed
        if is_file:
            plan.read.setdefault(mark, []).append((name, status))
        else:
            plan.write.append(Entry(name, kind, status, mark, before))
    if read:
        plan.read.setdefault(new, []).extend(read)
    if complete:
        plan.gone.extend(sorted(known.keys() - names))
    return plan


def _is_moved(kind: Kind, before: KnownRow | None, status: Status) -> bool:
    """Whether one of several names has another device, which tells what it is a name of."""
    return (
        status.st_nlink > 1
        and kind in LINKED_KINDS
        and before is not None
        and before.device != status.st_dev
    )


def _is_as_kept(before: KnownRow, status: Status) -> bool:
    """Whether times and inode are the same as far as the database can keep them."""
    return (
        before.mtime_ns == kept_time(status.st_mtime_ns)
        and before.ctime_ns == kept_time(status.st_ctime_ns)
        and before.inode == kept_inode(status.st_ino)
    )


def _without_new_files(
    entries: Iterable[tuple[bytes, Status | OSError]], read: list[FileToRead]
) -> list[tuple[bytes, Status | OSError]]:
    """Put the files of a directory of which nothing is known into ``read``; gives the rest.

    A short loop, because it is run for each file of a first backup.
    """
    rest = []
    for entry in entries:
        name, status = entry
        if not isinstance(status, OSError) and status.st_mode >> 12 == _REGULAR:
            read.append((name, status))
        else:
            rest.append(entry)
    return rest
