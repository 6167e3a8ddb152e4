"""What changed while the previous backup ran is looked at once more: its times may not tell."""

import json
from itertools import chain, repeat

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import evolve

from obnam.backup.meanwhile import COARSEST_NS, EVER, NEVER, RUNS_MAX, Meanwhile
from obnam.backup.plan import Mark, Plan, plan_directory
from obnam.generation.rows import KnownRow
from obnam.model.entry import Kind, Reason
from tests.unit.backup.laptop import Laptop
from tests.unit.backup.test_plan import FILE, SEQUENCE

S = 1_000_000_000
RAN = Meanwhile.between(1_000 * S + 500_000_000, 1_060 * S + 500_000_000)


@pytest.mark.parametrize(
    ("ctime_ns", "unsettled"),
    [
        (998 * S, False),
        (999 * S, True),  # vfat: its tick ends at 1001 s, when the backup ran
        (1_000 * S, True),
        (1_000 * S + 479_999_999, False),  # a file system with fine times, and before
        (1_000 * S + 490_000_000, True),  # within a tick of a clock that is behind by that
        (1_000 * S + 500_000_000, True),
        (1_030 * S + 1, True),
        (1_060 * S + 500_000_000, True),
        (1_062 * S, True),
        (1_062 * S + 500_000_000, True),
        (1_063 * S, False),
        (9_999 * S, False),  # by a clock that was wrong: not to be read at every backup
    ],
)
def test_when(ctime_ns: int, unsettled: bool) -> None:
    assert RAN.has(ctime_ns) is unsettled
    status = evolve(FILE, st_ctime_ns=ctime_ns)
    row = KnownRow(b"n", Kind.FILE, Reason.NEW, 3, 100, 1, ctime_ns, 3, None, None)
    plan = plan_directory([b"n"], [status], {b"n": row}, SEQUENCE, meanwhile=RAN)
    changed = Mark(Reason.CHANGED, SEQUENCE)
    read = Plan(read={changed: [(b"n", status)]})
    assert plan == (read if unsettled else Plan(unchanged=1, unchanged_bytes=100))


def test_a_clock_that_was_set_back_while_it_ran() -> None:
    assert Meanwhile.between(2_000, 1_000) == Meanwhile.between(1_000, 2_000)


@pytest_twisted.ensureDeferred
async def test_a_file_that_changed_while_the_backup_before_ran_is_read_again(
    laptop: Laptop,
) -> None:
    """Between its start and its end; by the next one only."""
    file = laptop.root / "file"
    file.write_bytes(b"content")
    changed_ns = file.stat().st_ctime_ns
    times = chain([changed_ns - 100 * S], repeat(changed_ns + 100 * S))
    first = laptop.backup()
    first.now_ns = lambda: next(times)
    result = await first.run()
    assert result.generation is not None
    manifest = (await laptop.generations().get(result.generation)).manifest
    assert manifest.started_ns < changed_ns < manifest.ended_ns
    await laptop.back_up()
    await laptop.back_up()
    assert [each.sent.files for each in laptop.results] == [1, 0]


def test_several_runs() -> None:
    both = Meanwhile.between(5_000 * S, 5_010 * S).and_before(RAN)
    assert both.runs == ((5_000 * S, 5_010 * S), *RAN.runs)
    assert both.earliest_ns == RAN.earliest_ns
    for ctime_ns, unsettled in [(900, False), (1_030, True), (3_000, False), (5_005, True)]:
        assert both.has(ctime_ns * S + 1) is unsettled
    assert RAN.and_before(NEVER) == RAN


def test_of_very_many_the_first_are_taken_for_one() -> None:
    ran = NEVER
    for nth in range(3 * RUNS_MAX):
        ran = Meanwhile.between(nth * 100 * S, (nth * 100 + 1) * S).and_before(ran)
    assert len(ran.runs) == RUNS_MAX
    for nth in range(3 * RUNS_MAX):
        assert ran.has(nth * 100 * S + 1)
    assert ran.earliest_ns == -COARSEST_NS
    assert not ran.has((3 * RUNS_MAX - 1) * 100 * S - 3 * S)


@pytest.mark.parametrize("ran", [NEVER, RAN, EVER, RAN.and_before(RAN)])
def test_what_a_generation_tells(ran: Meanwhile) -> None:
    assert Meanwhile.told(json.dumps(ran.runs)) == ran


def test_a_generation_that_tells_nothing() -> None:
    assert Meanwhile.told(None) == NEVER
    assert not NEVER.has(0)


@pytest.mark.parametrize(
    "member",
    [
        "",
        "{",
        7,
        b"[[1, 2]]",
        "[1]",
        "[[1]]",
        '[["1", 2]]',
        "[[1.5, 2]]",
        "[[true, 2]]",
        "null",
        json.dumps([[1, 2]] * (RUNS_MAX + 1)),
        "[" * 100_000,
    ],
)
def test_what_makes_no_sense_may_mean_anything(member: object) -> None:
    assert Meanwhile.told(member) == EVER
    assert EVER.has(0)
    assert EVER.has(1_795_000_000 * S + 1)
