"""What changed while the previous backup ran is looked at once more: its times may not tell."""

import pytest
from attrs import evolve

from obnam.backup.meanwhile import Meanwhile
from obnam.backup.plan import Mark, Plan, plan_directory
from obnam.generation.rows import KnownRow
from obnam.model.entry import Kind, Reason
from tests.unit.backup.test_plan import FILE, SEQUENCE

S = 1_000_000_000
RAN = Meanwhile.between(1_000 * S + 500_000_000, 1_060 * S + 500_000_000)


@pytest.mark.parametrize(
    ("ctime_ns", "unsettled"),
    [
        (998 * S, False),
        (999 * S, True),  # vfat: its tick ends at 1001 s, when the backup ran
        (1_000 * S, True),
        (1_000 * S + 499_999_999, False),  # a file system with fine times, and before
        (1_000 * S + 500_000_000, True),
        (1_030 * S + 1, True),
        (1_060 * S + 500_000_000, True),
        (1_062 * S, True),
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
