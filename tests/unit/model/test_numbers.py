"""Times and inode numbers that are more than a column of the database holds."""

import sqlite3

import pytest

from obnam.model.numbers import INTEGER_MAX, INTEGER_MIN, fits, kept_inode, kept_time


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (0, 0),
        (-1, -1),
        (INTEGER_MAX, INTEGER_MAX),
        (INTEGER_MAX + 1, INTEGER_MAX),
        (INTEGER_MIN, INTEGER_MIN),
        (INTEGER_MIN - 1, INTEGER_MIN),
        (1 << 92, INTEGER_MAX),
    ],
)
def test_a_time_is_kept_as_near_as_can_be(given: int, kept: int) -> None:
    assert kept_time(given) == kept
    assert fits(given) == (given == kept)
    assert _through_sqlite(kept) == kept


def test_inode_numbers_stay_apart() -> None:
    inodes = [0, 1, INTEGER_MAX, INTEGER_MAX + 1, (1 << 64) - 1]
    kept = [kept_inode(inode) for inode in inodes]
    assert [_through_sqlite(inode) for inode in kept] == kept
    assert len(set(kept)) == len(inodes)
    assert kept[:3] == inodes[:3]


def _through_sqlite(number: int) -> object:
    (found,) = sqlite3.connect(":memory:").execute("SELECT ?", (number,)).fetchone()
    return found
