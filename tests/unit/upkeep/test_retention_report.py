"""What `retention show` prints: which rule keeps it, or when it goes, and what that frees."""

import json

from attrs import evolve

from obnam_server.upkeep.retention import decide
from obnam_server.upkeep.retention_report import RetentionReport
from obnam_server.upkeep.retention_time import RetentionTime
from tests.support.candidates import (
    DESKTOP,
    at,
    days,
    every,
    in_order,
    plan_at,
    policy,
    received,
)

START = at("2026-09-01T02:00")
NOW = at("2026-11-24T12:00")


def report(pinned: str = "tax") -> RetentionReport:
    ours = received([START, START + days(1), START + days(70), START + days(71)])
    ours[0] = evolve(ours[0], pinned=pinned)
    ours[2] = evolve(ours[2], trashed_ns=NOW - days(1))
    theirs = received(every(days(1), START, 3), DESKTOP, first=10)
    theirs[-1] = evolve(theirs[-1], partial=True)
    theirs[0] = evolve(theirs[0], trashed_ns=START)
    plan = plan_at(NOW, in_order(ours, theirs), policy(last=1, newest=1))
    frees = {ours[1].generation: 12_340_000, theirs[0].generation: 100_000}
    return RetentionReport(plan, frees, 12_440_000)


def test_lines() -> None:
    assert report().lines() == [
        "client desktop",
        "  2026-09-01 02:00 000000000000 expunged now; frees 100.0 kB",
        "  2026-09-02 02:00 000000000000 kept (newest, last)",
        "  2026-09-03 02:00 000000000000 (partial) kept (newest)",
        "client laptop",
        "  2026-09-01 02:00 000000000000 kept (pinned: tax)",
        "  2026-09-02 02:00 000000000000 goes now; frees 12.3 MB",
        "  2026-11-10 02:00 000000000000 in the trash until 2026-12-23 12:00 at least",
        "  2026-11-11 02:00 000000000000 kept (newest, last)",
        "4 kept, 1 go now, 1 in the trash, 1 expunged now; all that goes frees 12.4 MB",
    ]


def test_until_when() -> None:
    daily = received(every(days(1), NOW - days(4), 4))
    lines = RetentionReport(plan_at(NOW, daily, policy(within="1d", newest=1))).lines()
    assert lines[1].endswith("kept (newest, minimum age) until 2026-11-29 00:00 at least")
    assert lines[-1] == "4 kept, 0 go now, 0 in the trash, 0 expunged now"


def test_why_nothing_goes_is_told() -> None:
    daily = received(every(days(1), NOW - days(60), 60))
    plan = decide(daily, policy(daily=3), NOW + days(90), RetentionTime(NOW, NOW))
    assert RetentionReport(plan).lines()[-2] == f"nothing is deleted now: {plan.halted}"
    assert RetentionReport(plan).to_json()["halted"] == plan.halted


def test_a_reason_brings_no_terminal_codes() -> None:
    lines = report("\x1b[2J\nclient x").lines()
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(report().lines())


def test_json() -> None:
    document = json.loads(json.dumps(report().to_json()))
    assert document["frees_together_bytes"] == 12_440_000
    assert (document["clock_ns"], document["time_ns"]) == (NOW, NOW)
    ours = [each for each in document["generations"] if each["client"] == "laptop"]
    assert [each["fate"] for each in ours] == ["kept", "goes", "trashed", "kept"]
    assert ours[0] == {
        "generation": f"{1:032x}",
        "client": "laptop",
        "sequence": 1,
        "received_ns": START,
        "partial": False,
        "pinned": "tax",
        "trashed_ns": None,
        "fate": "kept",
        "rules": ["pinned: tax"],
        "at_ns": None,
        "frees_bytes": None,
    }
    assert ours[1]["frees_bytes"] == 12_340_000
    assert ours[2]["at_ns"] == NOW + days(29)
