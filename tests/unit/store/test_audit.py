"""The audit log: a chain that a crash, a full disk or a second process does not break."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obnam.model.ids import RepositoryName
from obnam_server.store.accounts.audit import Audit
from obnam_server.store.accounts.audit_lines import events, read_lines, verified
from obnam_server.store.errors import DamagedAudit, StoreFailed, StoreFull
from tests.support.failing_files import FailingFiles

HOME = RepositoryName("home")
SEPTEMBER = 1_788_600_000_000_000_000
OCTOBER = SEPTEMBER + 30 * 86400 * 10**9


class Time:
    """A clock that is set by hand."""

    now_ns = SEPTEMBER

    def __call__(self) -> int:
        return self.now_ns


def names(data: Path) -> list[str]:
    """All events in the log, which must be whole."""
    return [event["event"] for event, _ in verified(data / "audit")]


def logged(data: Path, count: int = 3) -> Path:
    """A log of ``count`` events; its file."""
    audit = Audit.open(data, Time())
    for number in range(count):
        audit.record(f"event-{number}", details={"text": "ä\n\u2028"})
    return data / "audit" / "2026-09.jsonl"


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_line_says_who_did_what_and_when(tmp_path: Path) -> None:
    audit = Audit.open(tmp_path, Time())
    assert not (tmp_path / "audit").exists()
    assert audit.record("purge", repository=HOME, administrator=0, details={"a": [1]}) == 1
    assert audit.note("more") == 2
    first, second = (event for event, _ in verified(tmp_path / "audit"))
    assert first == {
        "sequence": 1,
        "time_ns": SEPTEMBER,
        "time": "2026-09-05T09:20:00.000000Z",
        "event": "purge",
        "repository": "home",
        "client": None,
        "administrator": 0,
        "details": {"a": [1]},
        "previous": "0" * 64,
    }
    assert (second["sequence"], second["details"]) == (2, {})
    path = tmp_path / "audit" / "2026-09.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert b" " not in path.read_bytes()


def test_each_month_has_its_file_and_the_chain_goes_on(tmp_path: Path) -> None:
    time = Time()
    for time.now_ns in (SEPTEMBER, OCTOBER, SEPTEMBER, OCTOBER):  # the clock goes back once
        Audit.open(tmp_path, time).record("event")
    counts = [len(p.read_bytes().splitlines()) for p in sorted((tmp_path / "audit").iterdir())]
    assert counts == [1, 3]
    assert len(names(tmp_path)) == 4


def test_two_processes_append_to_one_chain(tmp_path: Path) -> None:
    time = Time()
    one, two = Audit.open(tmp_path, time), Audit.open(tmp_path, time)
    assert [each.record("event") for each in (one, two, two, one, two)] == [1, 2, 3, 4, 5]
    time.now_ns = OCTOBER
    assert [each.record("event") for each in (one, two, one)] == [6, 7, 8]
    assert len(names(tmp_path)) == 8


def test_a_torn_line_is_cut_off_and_told(tmp_path: Path) -> None:
    path = logged(tmp_path)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for size in (start + 1, start + 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        Audit.open(tmp_path, Time())
        assert names(tmp_path) == ["event-0", "event-1", "audit-mended"]
        mended = list(events(tmp_path / "audit"))[-1]
        assert mended["details"]["size_bytes"] == size - start
        assert mended["details"]["text"] == whole[start:size].decode("ascii")


@pytest.mark.parametrize("rest", [bytes(100), bytes(100) + b"}\n", b"\n", b"{}\n"])
def test_what_a_power_failure_makes_of_a_line(tmp_path: Path, rest: bytes) -> None:
    path = logged(tmp_path)
    path.write_bytes(path.read_bytes() + rest)
    Audit.open(tmp_path, Time())
    assert names(tmp_path)[2:] == ["event-2", "audit-mended"]


def test_only_a_torn_line_or_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    path = tmp_path / "audit" / "2026-09.jsonl"
    path.write_bytes(b"{")
    Audit.open(tmp_path, Time()).record("event")
    assert names(tmp_path) == ["audit-mended", "event"]
    (tmp_path / "audit" / "2026-10.jsonl").touch()
    (tmp_path / "audit" / "notes.txt").touch()
    assert Audit.open(tmp_path, Time()).record("event") == 3
    assert len((tmp_path / "audit" / "2026-10.jsonl").read_bytes().splitlines()) == 1
    assert names(tmp_path) == ["audit-mended", "event", "event"]


def test_files_of_months_past_may_be_moved_away(tmp_path: Path) -> None:
    """What is left is checked as before, and begins where they end."""
    time = Time()
    audit = Audit.open(tmp_path, time)
    for time.now_ns in (SEPTEMBER, SEPTEMBER, OCTOBER, OCTOBER):
        audit.record("event")
    september, october = sorted((tmp_path / "audit").iterdir())
    september.unlink()
    found = [event["sequence"] for event, _ in verified(tmp_path / "audit")]
    assert found == [3, 4]
    assert Audit.open(tmp_path, time).record("after") == 5
    october.write_bytes(october.read_bytes().replace(b':"event"', b':"evont"', 1))
    with pytest.raises(DamagedAudit, match="line 2: does not fit"):
        names(tmp_path)
    lines = october.read_bytes().splitlines(keepends=True)
    october.write_bytes(b"".join(lines[::2]))
    with pytest.raises(DamagedAudit, match="is number 5, and 4 should come here"):
        names(tmp_path)


def test_the_first_event_follows_none(tmp_path: Path) -> None:
    path = logged(tmp_path, 1)
    path.write_bytes(path.read_bytes().replace(b'"previous":"0', b'"previous":"1'))
    with pytest.raises(DamagedAudit, match="line 1: does not fit"):
        names(tmp_path)


@pytest.mark.parametrize("torn", [False, True])
def test_dies_at_each_operation(tmp_path: Path, torn: bool) -> None:
    """What was acknowledged is there; the chain goes on."""

    def die() -> None:
        raise KeyboardInterrupt

    count = 0
    while True:
        data = tmp_path / str(count)
        data.mkdir()
        time, acknowledged = Time(), 0
        files = FailingFiles(count, die, torn)
        audit = Audit.open(data, time, files)
        try:
            for time.now_ns in (SEPTEMBER, SEPTEMBER, OCTOBER, OCTOBER):
                acknowledged = audit.record("event")
        except KeyboardInterrupt:
            pass
        else:
            break
        again = Audit.open(data, time)
        again.record("after")
        found = names(data)
        assert found.count("event") in (acknowledged, acknowledged + 1)
        assert found[-1] == "after"
        count += 1
    assert count == 14


@pytest.mark.parametrize("torn", [False, True])
def test_a_full_disk_changes_nothing(tmp_path: Path, torn: bool) -> None:
    path = logged(tmp_path)
    before = path.read_bytes()
    files = FailingFiles(0, full, torn)
    audit = Audit.open(tmp_path, Time(), files)
    with pytest.raises(StoreFull):
        audit.record("event")
    assert path.read_bytes() == before
    assert audit.record("event") == 4
    assert audit.missed is None


def test_what_could_not_be_logged_is_counted_and_told(tmp_path: Path) -> None:
    logged(tmp_path)
    time = Time()
    files = FailingFiles(-1, full)
    audit = Audit.open(tmp_path, time, files)
    for number, event in enumerate(["commit", "commit", "keyring"]):
        time.now_ns = SEPTEMBER + number
        files.fail_at = files.done
        assert audit.note(event) is None
    assert audit.missed is not None
    assert audit.missed["missed"] == 3
    time.now_ns += 1
    assert audit.note("commit") == 5
    assert audit.missed is None
    assert names(tmp_path)[3:] == ["audit-gap", "commit"]
    gap = list(events(tmp_path / "audit"))[3]["details"]
    assert gap["events"] == {"commit": 2, "keyring": 1}
    assert (gap["first_ns"], gap["last_ns"]) == (SEPTEMBER, SEPTEMBER + 2)
    assert "the disk is full" in gap["problem"]


def test_the_end_of_a_server_is_a_chance_to_tell(tmp_path: Path) -> None:
    files = FailingFiles(0, full)
    audit = Audit.open(tmp_path, Time(), files)
    assert audit.note("commit") is None
    audit.close()
    assert names(tmp_path) == ["audit-gap"]
    # And when that fails as well, nothing worse comes of it.
    audit.note("commit")
    files.fail_at = files.done
    audit.note("commit")
    files.fail_at = files.done
    audit.close()
    assert names(tmp_path) == ["audit-gap", "commit"]


def test_half_a_line_that_could_not_even_be_cut_off(tmp_path: Path) -> None:
    logged(tmp_path)

    class Broken(FailingFiles):
        def truncate(self, descriptor: int, size_bytes: int) -> None:
            if self.fail_at >= 0:
                full()
            super().truncate(descriptor, size_bytes)

    files = Broken(0, full, torn=True)
    audit = Audit.open(tmp_path, Time(), files)
    with pytest.raises(StoreFull):
        audit.record("event")
    files.fail_at = -1
    assert audit.record("event") == 5
    assert names(tmp_path)[3:] == ["audit-mended", "event"]


def edited(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (lambda lines: [lines[0].replace(b"event-0", b"event-9"), *lines[1:]], 2, "does not fit"),
        (lambda lines: [*lines[:2], *lines[3:]], 3, "is number 4, and 3 should come"),
        (
            lambda lines: [lines[0].replace(b'"sequence":1', b'"sequence":0'), *lines[1:]],
            1,
            "is number 0",
        ),
        (swapped, 2, "is number 3"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3, "is number 2"),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], 3, "is no line of"),
        (lambda lines: [*lines[:2], b"\xff\n", *lines[2:]], 3, "is no line of"),
        (lambda lines: [*lines[:4], lines[4][:-1]], 5, "is no line of"),
    ],
)
def test_a_changed_line_is_named(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], line: int, problem: str
) -> None:
    path = logged(tmp_path, 5)
    edited(path, change)
    with pytest.raises(DamagedAudit, match=problem) as caught:
        names(tmp_path)
    assert caught.value.place == f"{path}, line {line}"


def test_a_lost_file_is_noticed(tmp_path: Path) -> None:
    time = Time()
    audit = Audit.open(tmp_path, time)
    for time.now_ns in (SEPTEMBER, OCTOBER, OCTOBER + 31 * 86400 * 10**9):
        audit.record("event")
    (tmp_path / "audit" / "2026-10.jsonl").unlink()
    with pytest.raises(DamagedAudit, match="is number 3, and 2 should come here"):
        names(tmp_path)


def test_a_log_that_ends_in_ruins_refuses_changes_and_says_so(tmp_path: Path) -> None:
    """More than one line is no line: that was no crash, and nothing of it is cut off."""
    path = logged(tmp_path)
    edited(path, lambda lines: [*lines, b"ruin\n", b"ruin\n"])
    before = path.read_bytes()
    audit = Audit.open(tmp_path, Time())
    assert audit.missed is not None
    with pytest.raises(DamagedAudit, match="no line"):
        audit.record("event")
    assert audit.note("event") is None
    assert path.read_bytes() == before


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("")
    audit = Audit.open(tmp_path, Time())
    with pytest.raises(StoreFailed, match="audit"):
        audit.record("event")


def test_no_half_line_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes by what was there when it began."""
    path = logged(tmp_path)
    lines: list[Any] = []
    for line in read_lines(tmp_path / "audit"):
        if not lines:
            with path.open("ab") as file:
                file.write(b'{"sequence":4,"ti')
        lines.append(line)
    assert len(lines) == 3
