"""What is read together."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import Location, SegmentNumber
from obnam_server.store.segments import fetch
from obnam_server.store.segments.fetch import Run, plan_runs
from obnam_server.store.store import Store
from tests.support.stored import ALICE, HOME, Clock, body_of, chunk_id, put, segment_paths

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


# Reading, in pieces of any size: headers lie across their borders, too.

NAMES = "abcdefgh"
IDS = [chunk_id(name) for name in NAMES]
any_size = pytest.mark.parametrize("piece_bytes", [1, 36, 37, 38, 50, 1000, fetch.PIECE_BYTES])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[RepositoryStore]:
    store = Store.open(tmp_path, Clock())
    home = store.create_repository(HOME)
    put(home, home.begin_session(ALICE, None), NAMES)
    yield home
    store.close()


@any_size
def test_an_answer_is_what_was_stored(
    home: RepositoryStore, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(fetch, "PIECE_BYTES", piece_bytes)
    pieces = list(home.frames(home.wanted(IDS)))
    assert b"".join(pieces) == body_of(NAMES)
    assert len(pieces) == math.ceil(len(body_of(NAMES)) / piece_bytes)
    assert max(map(len, pieces)) <= piece_bytes
    assert max(map(len, pieces)) - min(map(len, pieces)) < len(pieces)


@any_size
def test_damaged_headers_are_not_sent(
    home: RepositoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    """The chunks behind them are whole, and so are the others of the answer."""
    monkeypatch.setattr(fetch, "PIECE_BYTES", piece_bytes)
    (path,) = segment_paths(tmp_path)
    content = bytearray(path.read_bytes())
    for name in "acdh":
        start = content.index(chunk_id(name))
        for at in (start, start + FRAME_HEADER_BYTES - 1):
            content[at] ^= 1
    path.write_bytes(content)
    assert b"".join(home.frames(home.wanted(IDS))) == body_of(NAMES)


@any_size
def test_nothing_is_sent_of_a_run_that_cannot_be_read_whole(
    home: RepositoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    """Else the rest could not be read elsewhere, when it was moved meanwhile."""
    monkeypatch.setattr(fetch, "PIECE_BYTES", piece_bytes)
    (path,) = segment_paths(tmp_path)
    content, body = path.read_bytes(), body_of(NAMES)
    path.write_bytes(content[: content.index(body) + len(body) - 10])
    got = []
    with pytest.raises(DamagedSegment):
        for piece in home.frames(home.wanted(IDS)):
            got.append(piece)
    assert got == []
    found = [location is not None for location in home.locate(IDS)]
    assert found == [True] * (len(NAMES) - 1) + [False]
