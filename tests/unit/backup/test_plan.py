"""What is to be done with a directory: values in, values out."""

import stat
from typing import Any

import pytest
from attrs import evolve, frozen

from obnam.backup.plan import Entry, Mark, Plan, plan_directory
from obnam.generation.rows import KnownRow
from obnam.model.entry import Kind, Reason

SEQUENCE = 7


@frozen
class Status:
    st_mode: int = stat.S_IFREG | 0o644
    st_nlink: int = 1
    st_size: int = 100
    st_mtime_ns: int = 1
    st_ctime_ns: int = 2
    st_ino: int = 3
    st_dev: int = 4
    st_rdev: int = 0
    st_uid: int = 0
    st_gid: int = 0


FILE = Status()
DIRECTORY = Status(st_mode=stat.S_IFDIR | 0o755, st_size=4096)
LINK = Status(st_mode=stat.S_IFLNK | 0o777)
KNOWN = KnownRow(b"n", Kind.FILE, Reason.NEW, 3, 100, 1, 2, 3, None, None)
KNOWN_DIRECTORY = KnownRow(b"n", Kind.DIRECTORY, Reason.NEW, 3, None, 1, 2, 3, None, 12)
KNOWN_LINK = KnownRow(b"n", Kind.SYMLINK, Reason.NEW, 3, None, 1, 2, 3, None, None)


def plan(status: Status | OSError, known: KnownRow | None, **how: Any) -> Plan:
    return plan_directory([b"n"], [status], {} if known is None else {b"n": known}, SEQUENCE, **how)


def entry(status: Status, kind: Kind, mark: Mark, known: KnownRow | None = None) -> Entry:
    return Entry(b"n", kind, status, mark, known)


NEW = Mark(Reason.NEW, SEQUENCE)
CHANGED = Mark(Reason.CHANGED, SEQUENCE)


def test_nothing_is_nothing() -> None:
    assert plan_directory([], [], {}, SEQUENCE) == Plan()


def test_new_entries() -> None:
    assert plan(FILE, None) == Plan(read={NEW: [(b"n", FILE)]})
    assert plan(LINK, None) == Plan(write=[entry(LINK, Kind.SYMLINK, NEW)])
    assert plan(DIRECTORY, None) == Plan(
        write=[entry(DIRECTORY, Kind.DIRECTORY, NEW)], enter=[(b"n", None)]
    )


def test_unchanged_entries() -> None:
    assert plan(FILE, KNOWN) == Plan(unchanged=1, unchanged_bytes=100)
    assert plan(LINK, KNOWN_LINK) == Plan(unchanged=1)
    assert plan(DIRECTORY, KNOWN_DIRECTORY) == Plan(unchanged=1, enter=[(b"n", KNOWN_DIRECTORY)])


@pytest.mark.parametrize(
    "difference", [{"st_size": 99}, {"st_mtime_ns": 0}, {"st_ctime_ns": 0}, {"st_ino": 0}]
)
def test_changed_files(difference: dict[str, int]) -> None:
    status = evolve(FILE, **difference)
    assert plan(status, KNOWN) == Plan(read={CHANGED: [(b"n", status)]})


def test_the_size_of_a_directory_says_nothing() -> None:
    assert plan(evolve(DIRECTORY, st_size=8192), KNOWN_DIRECTORY).unchanged == 1


def test_a_changed_directory_keeps_its_number() -> None:
    status = evolve(DIRECTORY, st_mtime_ns=9)
    assert plan(status, KNOWN_DIRECTORY) == Plan(
        write=[entry(status, Kind.DIRECTORY, CHANGED, KNOWN_DIRECTORY)],
        enter=[(b"n", KNOWN_DIRECTORY)],
    )


def test_links_of_one_file_are_on_one_device() -> None:
    linked = evolve(FILE, st_nlink=2)
    assert plan(linked, KNOWN).read  # its device is not known
    assert plan(linked, KNOWN._replace(device=4)).unchanged == 1
    assert plan(linked, KNOWN._replace(device=5)).read


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.SKIPPED])
def test_what_failed_is_tried_again(reason: Reason) -> None:
    known = KNOWN._replace(reason=reason)
    assert plan(FILE, known) == Plan(read={CHANGED: [(b"n", FILE)]})


def test_another_kind_is_another_entry() -> None:
    assert plan(FILE, KNOWN_DIRECTORY) == Plan(read={NEW: [(b"n", FILE)]}, gone=[b"n"])
    assert plan(DIRECTORY, KNOWN) == Plan(
        write=[entry(DIRECTORY, Kind.DIRECTORY, NEW)], enter=[(b"n", None)], gone=[b"n"]
    )


def test_what_vanished_and_what_fails() -> None:
    denied = PermissionError(13, "Permission denied")
    assert plan(FileNotFoundError(), None) == Plan()
    assert plan(FileNotFoundError(), KNOWN) == Plan(gone=[b"n"])
    assert plan(denied, KNOWN) == Plan(failed=[(b"n", denied)])


def test_what_is_not_listed_is_gone() -> None:
    known = {b"z": KNOWN, b"a": KNOWN}
    assert plan_directory([], [], known, SEQUENCE) == Plan(gone=[b"a", b"z"])
    assert plan_directory([], [], known, SEQUENCE, complete=False) == Plan()


def test_a_full_backup_reads_files_and_keeps_their_reasons() -> None:
    mark = Mark(KNOWN.reason, KNOWN.since)
    assert plan(FILE, KNOWN, full=True) == Plan(read={mark: [(b"n", FILE)]})
    assert plan(LINK, KNOWN_LINK, full=True) == Plan(unchanged=1)


def test_names_and_stats_go_together() -> None:
    with pytest.raises(ValueError):
        plan_directory([b"a"], [], {}, SEQUENCE)


def test_what_is_to_be_read_again_is_as_unchanged_as_it_was() -> None:
    assert plan(FILE, KNOWN, again={b"n"}).read == {Mark(Reason.NEW, 3): [(b"n", FILE)]}
    assert plan(FILE, KNOWN, again={b"other"}) == plan(FILE, KNOWN)
    assert plan(LINK, KNOWN_LINK, again={b"n"}).unchanged == 1


def test_names_that_others_share() -> None:
    """They are found again by the device that they lie on, which may get another number."""
    shared = evolve(LINK, st_nlink=2)
    known = KNOWN_LINK._replace(device=4)
    assert plan(shared, known) == Plan(unchanged=1)
    moved = evolve(shared, st_dev=5)
    mark = Mark(KNOWN_LINK.reason, KNOWN_LINK.since)
    assert plan(moved, known) == Plan(write=[entry(moved, Kind.SYMLINK, mark, known)])
    node = Status(st_mode=stat.S_IFCHR | 0o600, st_nlink=2)
    known_node = KNOWN_LINK._replace(kind=Kind.CHARACTER_DEVICE, device=259)
    assert plan(node, known_node) == Plan(unchanged=1)
