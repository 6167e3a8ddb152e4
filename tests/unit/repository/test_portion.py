"""How large portions are, over links of all kinds."""

import pytest

from obnam.errors import ServerUnreachable
from obnam.repository.portion import LEAST_BYTES, UNDER_WAY_BYTES, Portion, is_broken_off
from obnam.wire.limits import MIB, UPLOAD_BODY_MAX


def halved(times: int) -> Portion:
    """What became of uploads of 8 MiB that broke off so many times in a row, and once before."""
    portion, size = Portion(), 8 * MIB
    for time in range(1, times + 2):
        portion.broke_off(size, time)
        size = min(size, portion.limit_bytes)
    return portion


def test_breaking_off_once_is_forgiven() -> None:
    portion = Portion()
    portion.broke_off(8 * MIB, 1)
    assert portion.is_whole
    portion.broke_off(8 * MIB, 2)
    assert portion.limit_bytes == 4 * MIB


def test_several_that_break_off_at_once_are_one() -> None:
    """Four uploads side by side, over one link: it is half as much, and not a sixteenth."""
    portion = Portion()
    for times in (1, 2):
        for _ in range(4):
            portion.broke_off(8 * MIB, times)
    assert portion.limit_bytes == 4 * MIB


def test_there_is_a_least_one() -> None:
    assert halved(3).limit_bytes == MIB
    assert halved(100).limit_bytes == LEAST_BYTES


def test_what_works_again_is_whole_again() -> None:
    portion, sent = halved(3), 0
    while not portion.is_whole:
        portion.went_through(portion.limit_bytes)
        sent += 1
    assert sent == 4 * 4
    assert portion.limit_bytes == UPLOAD_BODY_MAX


def test_portions_that_fit_stay_as_they_are() -> None:
    """Of a link that drops every 3 MiB: nothing is lost by trying for more again and again."""
    portion = halved(3)
    for _ in range(100):
        portion.went_through(MIB)
        portion.went_through(MIB)
        portion.broke_off(MIB, 1)
    assert portion.limit_bytes == MIB


@pytest.mark.parametrize(
    ("carried_bytes", "expected"), [(0, False), (UNDER_WAY_BYTES, False), (MIB, True)]
)
def test_what_was_not_under_way_did_not_break_off(carried_bytes: int, expected: bool) -> None:
    """A server that is away, or says nothing, is not asked for less."""
    error = ServerUnreachable("server", "gone", carried_bytes=carried_bytes)
    assert is_broken_off(error) is expected
