"""Where each page of a generation's database lies in chunks.

A database is stored by its pages of 4096 bytes: pages that differ from the previous generation's
are laid end to end and cut into chunks of at most 256 pages; the map's runs say where every page
lies, in this generation's chunks or in older ones. Pure: it opens nothing.

Why pages: a change of 1 % of the rows at random touches 32 % of the pages, but 99.9 % of 64 KiB
blocks, and content-defined cuts of the file would differ nearly everywhere.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from obnam.model.ids import ChunkId

CHUNK_PAGES = 256
"""Pages in one chunk: 1 MiB."""

RUNS_MAX = 10_000
"""A map with more runs is not worth keeping: the database is written whole again."""

PAGES_MAX = 1 << 28
"""1 TiB of database: more is no database of ours."""


@frozen
class Run:
    """``count`` pages from ``page`` on lie in chunk ``chunk`` (index), from its page ``start``."""

    page: int
    count: int
    chunk: int
    start: int


@frozen
class PageChunk:
    """A chunk of kind *generation database*: ``pages`` pages, of which some may be dead."""

    id: ChunkId
    pages: int


@frozen
class PageMap:
    """The chunks that hold a database, and the runs that cover its pages from 0 without gaps."""

    chunks: tuple[PageChunk, ...]
    runs: tuple[Run, ...]

    @property
    def page_count(self) -> int:
        """Pages of the database."""
        return self.runs[-1].page + self.runs[-1].count if self.runs else 0

    def check(self) -> None:
        """Raises ``ValueError`` unless the runs cover pages 0, 1, … once, within the chunks."""
        at = 0
        for run in self.runs:
            if run.page != at or run.count < 1 or not 0 <= run.chunk < len(self.chunks):
                raise ValueError("the page map has a gap, an overlap or an unknown chunk")
            if run.start < 0 or run.start + run.count > self.chunks[run.chunk].pages:
                raise ValueError("the page map points outside a chunk")
            at += run.count
        if any(not 1 <= chunk.pages <= CHUNK_PAGES for chunk in self.chunks):
            raise ValueError("the page map has a chunk of a size that none has")
        if at > PAGES_MAX or self.has_too_many_runs:
            raise ValueError("the page map is too large")

    def pages_in(self, chunks: Collection[ChunkId]) -> list[int]:
        """The pages of the database that lie in any of these chunks, in order."""
        return [
            run.page + nth
            for run in self.runs
            if self.chunks[run.chunk].id in chunks
            for nth in range(run.count)
        ]

    @property
    def has_too_many_runs(self) -> bool:
        """More than ``RUNS_MAX``; a database that is stored whole has one a chunk, however many."""
        return len(self.runs) > max(RUNS_MAX, len(self.chunks))

    @property
    def live_share(self) -> float:
        """Pages in use, as a share of the pages that the chunks hold."""
        held = sum(chunk.pages for chunk in self.chunks)
        return self.page_count / held if held else 1.0


def whole(chunks: Sequence[PageChunk]) -> PageMap:
    """The map of a database that is stored whole in ``chunks``, one after another."""
    runs = []
    page = 0
    for index, chunk in enumerate(chunks):
        runs.append(Run(page, chunk.pages, index, 0))
        page += chunk.pages
    return PageMap(tuple(chunks), tuple(runs))


def replace_pages(
    old: PageMap, page_count: int, changed: Sequence[int], chunks: Sequence[PageChunk]
) -> PageMap:
    """The map after ``changed`` pages (in order) went end to end into new ``chunks``.

    Pages beyond ``page_count`` are dropped, chunks that hold no page any more too.
    """
    # One unsigned 64-bit number a page, chunk * CHUNK_PAGES + page in the chunk: bounded memory
    # (8 bytes a page), and quick to walk.
    places = array("Q", bytes(8 * page_count))
    for run in old.runs:
        first = run.chunk * CHUNK_PAGES + run.start
        stop = min(run.page + run.count, page_count)
        if stop > run.page:
            places[run.page : stop] = array("Q", range(first, first + stop - run.page))
    fresh = len(old.chunks) * CHUNK_PAGES
    for nth, page in enumerate(changed):
        places[page] = fresh + nth
    return _drop_unused((*old.chunks, *chunks), list(_runs(places)))


def after_change(old: PageMap, page_count: int, changed: Sequence[int]) -> PageMap:
    """What `replace_pages` will give, but for the ids of the new chunks."""
    full, rest = divmod(len(changed), CHUNK_PAGES)
    sizes = [CHUNK_PAGES] * full + [rest] * bool(rest)
    return replace_pages(
        old, page_count, changed, [PageChunk(ChunkId(b""), pages) for pages in sizes]
    )


def _runs(places: "array[int]") -> Iterator[Run]:
    start = 0
    for page in range(1, len(places) + 1):
        if (
            page == len(places)
            or places[page] != places[page - 1] + 1
            or places[page] % CHUNK_PAGES == 0
        ):
            chunk, first = divmod(places[start], CHUNK_PAGES)
            yield Run(start, page - start, chunk, first)
            start = page


def _drop_unused(chunks: Sequence[PageChunk], runs: Sequence[Run]) -> PageMap:
    used = Counter(run.chunk for run in runs)
    index = {old: new for new, old in enumerate(sorted(used))}
    return PageMap(
        tuple(chunks[old] for old in sorted(used)),
        tuple(Run(run.page, run.count, index[run.chunk], run.start) for run in runs),
    )


def wants_rewrite(page_map: PageMap) -> bool:
    """Whether a database had better be stored whole than with this map."""
    return page_map.live_share < 0.5 or page_map.has_too_many_runs
