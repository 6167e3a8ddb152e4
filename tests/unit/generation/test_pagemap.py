"""Where pages lie, against a model: a list of (chunk id, page in the chunk) by page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.generation import pagemap
from obnam.generation.pagemap import (
    CHUNK_PAGES,
    PAGES_MAX,
    RUNS_MAX,
    PageChunk,
    PageMap,
    Run,
    after_change,
    replace_pages,
    wants_rewrite,
    whole,
)
from tests.unit.generation.rows import chunk_id

Places = list[tuple[bytes, int]]


def chunks_for(pages: int, first: int) -> list[PageChunk]:
    """New chunks that hold so many pages."""
    sizes = [min(CHUNK_PAGES, pages - at) for at in range(0, pages, CHUNK_PAGES)]
    return [PageChunk(chunk_id(first + n), size) for n, size in enumerate(sizes)]


def places_of(page_map: PageMap) -> Places:
    return [
        (page_map.chunks[run.chunk].id, run.start + nth)
        for run in page_map.runs
        for nth in range(run.count)
    ]


def test_a_whole_database() -> None:
    page_map = whole(chunks_for(600, 1))
    assert page_map.runs == (Run(0, 256, 0, 0), Run(256, 256, 1, 0), Run(512, 88, 2, 0))
    assert (page_map.page_count, page_map.live_share) == (600, 1.0)
    page_map.check()
    assert not wants_rewrite(page_map)


def test_no_pages_at_all() -> None:
    page_map = whole([])
    page_map.check()
    assert (page_map.page_count, page_map.live_share) == (0, 1.0)
    assert replace_pages(page_map, 0, [], []) == page_map


def test_pages_that_changed_lie_in_new_chunks() -> None:
    old = whole(chunks_for(300, 1))
    new = [PageChunk(chunk_id(9), 3)]
    page_map = replace_pages(old, 301, [1, 2, 300], new)
    assert page_map.chunks == (*old.chunks, *new)
    assert page_map.runs == (
        Run(0, 1, 0, 0), Run(1, 2, 2, 0), Run(3, 253, 0, 3), Run(256, 44, 1, 0), Run(300, 1, 2, 2),
    )  # fmt: skip
    page_map.check()


def test_chunks_without_a_page_are_dropped() -> None:
    old = whole(chunks_for(300, 1))
    assert replace_pages(old, 256, [], []) == whole(old.chunks[:1])
    changed = list(range(256, 300))
    assert replace_pages(old, 300, changed, [PageChunk(chunk_id(9), 44)]).chunks == (
        old.chunks[0],
        PageChunk(chunk_id(9), 44),
    )


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[int, list[int]]]:
    """For several generations: pages of the database, and which of the old ones changed."""
    made = []
    for _ in range(draw(st.integers(1, 6))):
        count = draw(st.integers(0, 700))
        some = st.lists(st.integers(0, max(0, count - 1)), max_size=40)
        spans = draw(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 300)), max_size=3))
        pages = set(draw(some)).union(*(range(at, at + length) for at, length in spans))
        made.append((count, sorted(page for page in pages if page < count)))
    return made


@given(st.integers(0, 700), changes())
def test_replacing_pages_is_as_in_the_model(first: int, steps: list[tuple[int, list[int]]]) -> None:
    page_map = whole(chunks_for(first, 1))
    model = places_of(page_map)
    assert model == [(chunk_id(1 + n // 256), n % 256) for n in range(first)]
    for nth, (count, wanted) in enumerate(steps, 1):
        changed = sorted({*wanted, *range(len(model), count)})
        new = chunks_for(len(changed), 1000 * nth)
        expected = after_change(page_map, count, changed)
        page_map = replace_pages(page_map, count, changed, new)
        model = (model + [(b"", 0)] * count)[:count]
        for at, page in enumerate(changed):
            model[page] = (new[at // 256].id, at % 256)
        page_map.check()
        assert places_of(page_map) == model
        assert page_map.page_count == count
        assert {chunk.id for chunk in page_map.chunks} == {place[0] for place in model}
        held = sum(chunk.pages for chunk in page_map.chunks)
        assert page_map.live_share == (len(model) / held if held else 1.0)
        assert expected.runs == page_map.runs
        assert wants_rewrite(expected) == wants_rewrite(page_map)
        # No two runs that could be one.
        for run, following in zip(page_map.runs, page_map.runs[1:], strict=False):
            same = run.chunk == following.chunk
            assert not (same and run.start + run.count == following.start)


def test_when_a_database_is_written_whole() -> None:
    old = whole(chunks_for(512, 1))
    half = replace_pages(old, 512, list(range(0, 512, 2)), chunks_for(256, 9))
    assert half.live_share == 512 / 768
    assert not wants_rewrite(half)
    small = replace_pages(old, 255, [], [])
    assert small.live_share > 0.99  # the second chunk is of no use any more
    assert wants_rewrite(replace_pages(old, 127, [], []))
    assert not wants_rewrite(replace_pages(old, 128, [], []))


def test_a_map_of_too_many_runs_is_neither_wanted_nor_accepted() -> None:
    old = whole(chunks_for(2 * RUNS_MAX, 1))
    every_other = list(range(0, 2 * RUNS_MAX, 2))
    many = replace_pages(old, 2 * RUNS_MAX, every_other, chunks_for(len(every_other), 10_000))
    assert many.live_share > 0.5
    assert wants_rewrite(many)
    with pytest.raises(ValueError, match="too large"):
        many.check()


def test_a_huge_database_that_is_whole_is_fine() -> None:
    page_map = whole(chunks_for((RUNS_MAX + 5) * CHUNK_PAGES, 1))
    page_map.check()
    assert not wants_rewrite(page_map)


A, B = PageChunk(chunk_id(1), 10), PageChunk(chunk_id(2), 5)


@pytest.mark.parametrize(
    "page_map",
    [
        PageMap((A,), (Run(1, 5, 0, 0),)),
        PageMap((A,), (Run(0, 5, 0, 0), Run(6, 1, 0, 6))),
        PageMap((A,), (Run(0, 5, 0, 0), Run(4, 1, 0, 6))),
        PageMap((A,), (Run(0, 0, 0, 0),)),
        PageMap((A,), (Run(0, -1, 0, 0),)),
        PageMap((A,), (Run(0, 5, 1, 0),)),
        PageMap((A,), (Run(0, 5, -1, 0),)),
        PageMap((A, B), (Run(0, 6, 1, 0),)),
        PageMap((A,), (Run(0, 5, 0, -1),)),
        PageMap((A,), (Run(0, 5, 0, 6),)),
        PageMap((PageChunk(chunk_id(1), 257),), (Run(0, 257, 0, 0),)),
        PageMap((A, PageChunk(chunk_id(2), 0)), (Run(0, 10, 0, 0),)),
    ],
)
def test_nonsense_is_refused(page_map: PageMap) -> None:
    with pytest.raises(ValueError, match="page map"):
        page_map.check()


def test_more_pages_than_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAGES_MAX * 4096 == 1 << 40
    monkeypatch.setattr(pagemap, "PAGES_MAX", 599)
    with pytest.raises(ValueError, match="too large"):
        whole(chunks_for(600, 1)).check()
