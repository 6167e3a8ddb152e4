"""Which segments are compacted, and together with which."""

from hypothesis import given
from hypothesis import strategies as st

from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.upkeep.collection import SegmentShare
from obnam_server.upkeep.collect import (
    GROUP_BYTES,
    GROUP_COUNT,
    SMALL_BYTES,
    SMALL_COUNT,
    YOUNG_S,
    plan,
)

NOW_NS = 1_800_000_000_000_000_000
OLD_NS = NOW_NS - YOUNG_S * 1_000_000_000
BIG = 16 << 20


def share(number: int, size: int, live: int, created_ns: int = OLD_NS) -> SegmentShare:
    return SegmentShare(SegmentNumber(number), size, live, created_ns)


def test_what_is_mostly_live_is_left_alone() -> None:
    found = plan([share(1, BIG, BIG), share(2, BIG, BIG * 3 // 4)], NOW_NS)
    assert found.groups == ()
    assert (found.dead_bytes, found.freed_bytes) == (BIG // 4, 0)


def test_what_is_more_than_a_quarter_dead_is_rewritten_together() -> None:
    shares = [share(number, BIG, BIG // 2) for number in (3, 1, 2)]
    assert plan(shares, NOW_NS).groups == ((1, 2), (3,))
    assert plan(shares, NOW_NS).freed_bytes == 3 * BIG // 2


def test_what_is_wholly_dead_comes_first() -> None:
    shares = [share(1, BIG, 100), share(2, BIG, 0), share(3, BIG, 0)]
    assert plan(shares, NOW_NS).groups == ((2, 3), (1,))


def test_what_is_young_is_left_alone() -> None:
    assert plan([share(1, BIG, 0, OLD_NS + 1)], NOW_NS).groups == ()


def test_small_ones_are_put_together_once_there_are_enough() -> None:
    small = [share(number, 1000, 1000) for number in range(1, SMALL_COUNT + 1)]
    assert plan(small[1:], NOW_NS).groups == ()
    assert plan(small, NOW_NS).groups == (tuple(range(1, SMALL_COUNT + 1)),)
    assert plan([*small[1:], share(0, SMALL_BYTES, SMALL_BYTES)], NOW_NS).groups == ()


def test_a_group_is_one_change_and_not_too_large() -> None:
    many = [share(number, 1000, 0) for number in range(1, GROUP_COUNT + 2)]
    assert [len(group) for group in plan(many, NOW_NS).groups] == [GROUP_COUNT, 1]


@given(
    st.lists(
        st.tuples(st.integers(200, BIG), st.floats(0, 1), st.integers(0, 2 * YOUNG_S)),
        max_size=600,
    )
)
def test_groups_are_bounded_and_nothing_is_named_twice(
    found: list[tuple[int, float, int]],
) -> None:
    shares = [
        share(number, size, int(size * live), NOW_NS - age * 1_000_000_000)
        for number, (size, live, age) in enumerate(found)
    ]
    chosen = plan(shares, NOW_NS)
    flat = [number for group in chosen.groups for number in group]
    assert len(flat) == len(set(flat))
    assert 0 <= chosen.freed_bytes <= chosen.dead_bytes
    for group in chosen.groups:
        assert 0 < len(group) <= GROUP_COUNT
        assert len(group) == 1 or sum(shares[n].live_bytes for n in group) <= GROUP_BYTES
