"""Deciding which segments are compacted, and together with which. Pure."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from obnam.wire.limits import MIB, UPLOAD_BODY_MAX
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.upkeep.collection import SegmentShare

DEAD_SHARE_MAX = 0.25
"""A segment with a larger part dead is rewritten. Lower: more is copied for each byte gained
(at a quarter, three for one); higher: more lies about that nobody needs."""

SMALL_BYTES = 4 * MIB
"""Smaller segments, such as those of small backups, are put together once there are enough."""

SMALL_COUNT = 16
"""How many small segments are enough, so that none is copied more than a few times."""

GROUP_BYTES = UPLOAD_BODY_MAX
"""Live bytes of one new segment: as much as an upload may bring."""

GROUP_COUNT = 256
"""Segments replaced in one change of the index, which clients' changes wait for."""

YOUNG_S = 24 * 3600
"""Segments younger than this are left alone: an interrupted backup finds its chunks again."""


@frozen
class Plan:
    """What to do: each group of segments is replaced by one new segment, or by none.

    ``dead_bytes``: what is dead in all segments; ``freed_bytes``: what the plan gives back.
    """

    groups: tuple[tuple[SegmentNumber, ...], ...]
    dead_bytes: int
    freed_bytes: int


def plan(shares: Sequence[SegmentShare], now_ns: int) -> Plan:
    """Which segments to compact. What is wholly dead comes first: it gives most, and costs nothing.

    ``now_ns``: since the epoch.
    """
    old = [each for each in shares if each.created_ns <= now_ns - YOUNG_S * 1_000_000_000]
    empty = [each for each in old if not each.live_bytes]
    holey = [each for each in old if each.live_bytes and _dead(each) > DEAD_SHARE_MAX]
    small = [
        each
        for each in old
        if each.live_bytes and each.size_bytes < SMALL_BYTES and _dead(each) <= DEAD_SHARE_MAX
    ]
    if len(small) < SMALL_COUNT:
        small = []
    chosen = [*_grouped(empty), *_grouped(_in_order([*holey, *small]))]
    return Plan(
        tuple(tuple(each.segment for each in group) for group in chosen),
        sum(each.size_bytes - each.live_bytes for each in shares),
        sum(each.size_bytes - each.live_bytes for group in chosen for each in group),
    )


def _dead(share: SegmentShare) -> float:
    return 1 - share.live_bytes / share.size_bytes


def _in_order(shares: Sequence[SegmentShare]) -> list[SegmentShare]:
    """As they were written: what was sent together is needed together."""
    return sorted(shares, key=lambda each: each.segment)


def _grouped(shares: Sequence[SegmentShare]) -> Iterator[list[SegmentShare]]:
    group: list[SegmentShare] = []
    for share in shares:
        full = sum(each.live_bytes for each in group) + share.live_bytes > GROUP_BYTES
        if group and (full or len(group) == GROUP_COUNT):
            yield group
            group = []
        group.append(share)
    if group:
        yield group
