from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from obnam.browse import listing
from obnam.generation.local import LocalEntry
from obnam.generation.rows import EntryRow
from obnam.model.entry import Kind, Reason
from obnam.model.ids import ClientName, GenerationId
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import GenerationSummary, Receipt

NOON_NS = 1_793_620_800 * 10**9  # 2026-11-02T12:00:00Z


def entry(path: bytes, kind: Kind, reason: Reason = Reason.NEW, **columns: Any) -> LocalEntry:
    row = EntryRow._make((1, path.rpartition(b"/")[2], kind, reason, 1, *(None,) * 14))
    return LocalEntry(path, row._replace(mode=0o644, **columns), reason)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (entry(b"/a/b", Kind.FILE, Reason.CHANGED), "f /a/b (changed)"),
        (entry(b"/a", Kind.DIRECTORY, Reason.SKIPPED), "d /a (skipped)"),
        (entry(b"/\x1b[31m\n\xff", Kind.SOCKET), "s /\\x1b[31m\\n\\xff (new)"),
    ],
)
def test_lines_are_safe_to_print(found: LocalEntry, line: str) -> None:
    assert listing.entry_line(found) == line


def test_entries_for_programs() -> None:
    value = listing.entry_to_json(entry(b"/\xff", Kind.SYMLINK, target=b"/a"))
    assert value["path_base64"] == "L/8="
    assert "path" not in value
    assert value["target"] == {"path": "/a"}
    assert value["mode"] == "0644"
    assert "size" not in value
    assert listing.entry_to_json(entry(b"/a", Kind.FILE, size=7))["size"] == 7


@pytest.mark.parametrize("partial", [False, True])
def test_generations(partial: bool) -> None:
    receipt = Receipt(GenerationId("ab" * 16), 1, NOON_NS + 999_999_999)
    summary = GenerationSummary(receipt, ClientName("laptop"), None, partial, 7)
    listed = ListedGeneration(summary)
    line = listing.generation_line(listed, timezone(timedelta(hours=2)))
    assert line.startswith("ab" * 16 + "  2026-11-02 14:00:00  laptop")
    assert ("(partial)" in line) == partial
    assert listing.generation_to_json(listed)["received"] == "2026-11-02T12:00:00Z"


def test_what_was_decided_is_shown_safely() -> None:
    receipt = Receipt(GenerationId("ab" * 16), 1, NOON_NS)
    summary = GenerationSummary(receipt, ClientName("laptop"), None, False, 7)
    pinned = ListedGeneration(summary, pinned="good\x1b[31m\n: ü")
    line = listing.generation_line(pinned, UTC)
    assert line.endswith("laptop  (pinned: 'good\\x1b[31m\\n: \\xfc')")
    assert listing.generation_to_json(pinned)["pinned"] == pinned.pinned
    trashed = ListedGeneration(summary, trashed_ns=NOON_NS)
    since = "  (in the trash since 2026-11-02 12:00:00"
    assert listing.generation_line(trashed, UTC).endswith(f"{since})")
    until = ListedGeneration(summary, trashed_ns=NOON_NS, until_ns=NOON_NS + 86_400 * 10**9)
    line = listing.generation_line(until, UTC)
    assert line.endswith(f"{since}, until 2026-11-03 12:00:00 at least)")
    assert listing.generation_to_json(until)["until"] == "2026-11-03T12:00:00Z"


def test_times_before_the_epoch_and_after_it() -> None:
    assert listing.iso_time(-1) == "1969-12-31T23:59:59Z"
    assert listing.local_time(0, UTC) == "1970-01-01 00:00:00"
