"""What is read together."""

from hypothesis import given
from hypothesis import strategies as st

from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam_server.store.fetch import Run, plan_runs
from obnam_server.store.interfaces import Location, SegmentNumber
from tests.support.stored import chunk_id

A, B, C = chunk_id("a"), chunk_id("b"), chunk_id("c")


def at(segment: int, offset: int, length: int) -> Location:
    return Location(SegmentNumber(segment), offset, length)


def test_neighbours_are_read_together() -> None:
    wanted = [(A, at(1, 100, 10)), (B, at(1, 147, 20)), (C, at(1, 300, 5))]
    assert list(plan_runs(wanted)) == [
        Run(at(1, 63, 104), [(A, 10), (B, 20)]),
        Run(at(1, 263, 42), [(C, 5)]),
    ]


def test_not_backwards_nor_across_segments() -> None:
    wanted = [(B, at(1, 147, 20)), (A, at(1, 100, 10)), (C, at(2, 147, 5))]
    assert [len(run.chunks) for run in plan_runs(wanted)] == [1, 1, 1]


def test_absent_ones_go_together() -> None:
    assert list(plan_runs([(A, None), (B, None), (C, at(1, 100, 5))])) == [
        Run(None, [(A, 0), (B, 0)]),
        Run(at(1, 63, 42), [(C, 5)]),
    ]


def test_a_limit() -> None:
    wanted = [(A, at(1, 100, 10)), (B, at(1, 147, 20)), (C, at(1, 204, 500))]
    assert [len(run.chunks) for run in plan_runs(wanted, limit_bytes=104)] == [2, 1]
    assert [len(run.chunks) for run in plan_runs(wanted, limit_bytes=103)] == [1, 1, 1]


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.builds(at, st.integers(1, 2), st.sampled_from([69, 116, 163]), st.just(10)),
        )
    ),
    st.integers(1, 300),
)
def test_everything_once_and_in_order(places: list[Location | None], limit_bytes: int) -> None:
    wanted = [(chunk_id(str(n)), place) for n, place in enumerate(places)]
    runs = list(plan_runs(wanted, limit_bytes))
    assert [c for run in runs for c in run.chunks] == [
        (i, place.length if place else 0) for i, place in wanted
    ]
    left = iter(wanted)
    for run in runs:
        offset = run.place.offset if run.place else 0
        assert run.place is None or run.place.length <= max(limit_bytes, 47)
        for _ in run.chunks:
            _, place = next(left)
            if run.place is None:
                assert place is None
            else:
                assert place == at(run.place.segment, offset + FRAME_HEADER_BYTES, 10)
                offset += FRAME_HEADER_BYTES + 10
