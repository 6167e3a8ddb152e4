"""Times and inode numbers beyond 63 bits: anyone may set such a time, and no backup fails of it."""

import os
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import evolve

from obnam.backup.plan import Plan
from obnam.errors import ServerFull
from obnam.live import scan as live_scan
from obnam.live.read import open_with_status
from obnam.model.entry import Reason
from obnam.model.numbers import INTEGER_MAX, INTEGER_MIN
from obnam.pool import reading
from tests.unit.backup.laptop import Laptop
from tests.unit.backup.test_plan import FILE, KNOWN, plan

ensure = pytest_twisted.ensureDeferred

YEAR_2300_NS = 10_413_792_000_000_000_007


def _date(path: Path, time_ns: int) -> None:
    os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
    if os.lstat(path).st_mtime_ns != time_ns:
        pytest.skip("the file system has no such times")


@ensure
async def test_a_time_far_away_is_kept_as_the_nearest_and_told_once(laptop: Laptop) -> None:
    root = laptop.root
    (root / "file").write_bytes(b"content")
    (root / "link").symlink_to("file")
    (root / "directory").mkdir()
    names = ("file", "link", "directory")
    for name in names:
        _date(root / name, YEAR_2300_NS)

    first = await laptop.back_up()

    warnings = list(laptop.warnings)
    for name in names:
        assert sum(w.startswith(f"{root}/{name}: its modification time") for w in warnings) == 1
    entries = await laptop.below(first)
    assert {entries[name].row.mtime_ns for name in names} == {INTEGER_MAX}
    assert entries["file"].content == b"content"

    second = await laptop.back_up()

    assert laptop.warnings == []
    reasons = await laptop.reasons(second)
    assert {reasons[name] for name in names} == {Reason.UNCHANGED}


@ensure
async def test_what_the_scan_finds_is_told_when_it_is_found(laptop: Laptop) -> None:
    """A backup takes hours, and may fail."""
    (laptop.root / "file").write_bytes(b"content")
    _date(laptop.root / "file", YEAR_2300_NS)

    def full() -> None:
        raise ServerFull("memory")

    laptop.repository.before_store = full
    with pytest.raises(ServerFull):
        await laptop.back_up()
    (warning,) = laptop.warnings
    assert warning.startswith(f"{laptop.root}/file: its modification time")


@ensure
async def test_inode_numbers_of_64_bits(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mergerfs and others make them: files are told apart by them, and links found."""
    root = laptop.root
    (root / "a").write_bytes(b"linked")
    (root / "b").hardlink_to(root / "a")
    (root / "c").write_bytes(b"alone")
    (root / "d").mkdir()
    listed = live_scan._stats

    def high(status: os.stat_result) -> os.stat_result:
        # With the fields that have no place in the tuple: times in ns, and the device's number.
        more = {name: getattr(status, name) for name in ("st_mtime_ns", "st_ctime_ns", "st_rdev")}
        return os.stat_result((status[0], status[1] | 1 << 63, *status[2:]), more)

    def stats(descriptor: int, names: list[bytes]) -> tuple[list[live_scan.Found], OSError | None]:
        found, error = listed(descriptor, names)
        return [s if isinstance(s, OSError) else high(s) for s in found], error

    def open_high(*arguments: object) -> tuple[int, os.stat_result]:
        descriptor, status = open_with_status(*arguments)  # type: ignore[arg-type]
        return descriptor, high(status)

    monkeypatch.setattr(live_scan, "_stats", stats)
    monkeypatch.setattr(reading, "open_with_status", open_high)

    entries = await laptop.below(await laptop.back_up())

    assert entries["a"].row.inode == entries["b"].row.inode == _signed(root / "a")
    assert entries["c"].row.inode == _signed(root / "c")
    assert laptop.results[-1].sent.files == 2
    reasons = await laptop.reasons(await laptop.back_up())
    assert set(reasons.values()) == {Reason.UNCHANGED}


def _signed(path: Path) -> int:
    return (path.stat().st_ino | 1 << 63) - (1 << 64)


@pytest.mark.parametrize("time_ns", [INTEGER_MAX + 5, INTEGER_MIN - 5])
def test_what_is_stored_as_the_nearest_is_unchanged(time_ns: int) -> None:
    near = INTEGER_MAX if time_ns > 0 else INTEGER_MIN
    known = KNOWN._replace(mtime_ns=near, ctime_ns=near)
    status = evolve(FILE, st_mtime_ns=time_ns, st_ctime_ns=time_ns)
    assert plan(status, known) == Plan(unchanged=1, unchanged_bytes=100)
    assert plan(evolve(status, st_ino=9), known).unchanged == 0
