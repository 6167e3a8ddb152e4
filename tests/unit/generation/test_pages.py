"""The pages of files: which differ, their bytes, and back to where they belong."""

import os
from pathlib import Path

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obnam.generation import pages
from obnam.generation.pagemap import CHUNK_PAGES, PageChunk, replace_pages, whole
from tests.unit.generation.rows import chunk_id

PAGE = 4096


def content(*fill: int) -> bytes:
    """A page of each of these."""
    return b"".join(each.to_bytes(4, "big") * 1024 for each in fill)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "new"


def test_pages_that_differ_or_are_new(old: Path, new: Path) -> None:
    old.write_bytes(content(0, 1, 2, 3))
    new.write_bytes(content(0, 9, 2, 3, 4))
    assert pages.changed_pages(old, new) == [1, 4]
    assert pages.changed_pages(new, old) == [1]
    assert pages.changed_pages(new, new) == []
    assert (pages.count_pages(old), pages.count_pages(new)) == (4, 5)


def test_a_byte_anywhere_counts(old: Path, new: Path) -> None:
    data = bytearray(content(*range(600)))
    old.write_bytes(data)
    for at in (0, 255 * PAGE + 4095, 256 * PAGE, 599 * PAGE + 17):
        data[at] ^= 1
    new.write_bytes(data)
    assert pages.changed_pages(old, new) == [0, 255, 256, 599]


def test_pieces_are_of_256_pages(old: Path) -> None:
    old.write_bytes(content(*range(600)))
    made = list(pages.pieces(old, range(600)))
    assert [len(piece) // PAGE for piece in made] == [256, 256, 88]
    assert b"".join(made) == old.read_bytes()
    assert list(pages.pieces(old, [5, 7, 599])) == [content(5, 7, 599)]
    assert list(pages.pieces(old, [])) == []


def test_the_checksum_is_of_the_whole_file(old: Path) -> None:
    data = os.urandom(3 * PAGE << 8)
    old.write_bytes(data)
    assert pages.checksum(old) == xxhash.xxh3_128_digest(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.integers(0, 600),
    st.lists(st.tuples(st.integers(0, 600), st.sets(st.integers(0, 599), max_size=50)), max_size=4),
)
def test_back_to_where_they_belong(
    old: Path, new: Path, first: int, steps: list[tuple[int, set[int]]]
) -> None:
    """Store a file whole, then only what changed; each time it can be put together again."""
    stored: dict[bytes, bytes] = {}

    def store(path: Path, numbers: list[int]) -> list[PageChunk]:
        made = []
        for piece in pages.pieces(path, numbers):
            made.append(PageChunk(chunk_id(len(stored)), len(piece) // PAGE))
            stored[made[-1].id] = piece
        return made

    old.write_bytes(content(*range(first)))
    page_map = whole(store(old, list(range(first))))
    values = list(range(first))
    for nth, (count, wanted) in enumerate(steps, 1):
        values = [nth * 10_000 + n if n in wanted else v for n, v in enumerate(values)][:count]
        values += [nth * 10_000 + n for n in range(len(values), count)]
        new.write_bytes(content(*values))
        changed = pages.changed_pages(old, new)
        page_map = replace_pages(page_map, count, changed, store(new, changed))
        together = old.with_name("together")
        with together.open("wb") as file:
            for index, chunk in reversed(list(enumerate(page_map.chunks))):
                assert chunk.pages <= CHUNK_PAGES
                pages.place(file, page_map, index, stored[chunk.id])
        assert together.read_bytes() == new.read_bytes()
        new.replace(old)
