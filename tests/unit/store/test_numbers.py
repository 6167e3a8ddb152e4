"""Numbers are given once."""

from pathlib import Path

import pytest

from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.seams.values import ChunkNumber, Location, NumberedChunk, SegmentNumber
from obnam_server.store.segments.numbers import Numbers
from tests.support.stored import chunk_id


@pytest.fixture
def index(tmp_path: Path) -> SqliteIndex:
    return SqliteIndex(tmp_path / "index.sqlite")


def test_the_same_id_gets_the_same_number(index: SqliteIndex) -> None:
    numbers = Numbers(index, SegmentNumber(1), ChunkNumber(5))
    a, b, c = chunk_id("a"), chunk_id("b"), chunk_id("c")
    first = numbers.give([a, b, a])
    second = numbers.give([c, b])
    assert first.numbers == {a: 5, b: 6}
    assert second.numbers == {c: 7, b: 6}
    numbers.release(first)
    # `b` is still held by the second one.
    assert numbers.give([b]).numbers == {b: 6}
    assert numbers.next_numbers() == (1, 8)


def test_a_number_given_up_is_not_given_again(index: SqliteIndex) -> None:
    numbers = Numbers(index, SegmentNumber(1), ChunkNumber(0))
    numbers.release(numbers.give([chunk_id("a")]))
    assert numbers.give([chunk_id("a")]).numbers == {chunk_id("a"): 1}


def test_what_the_index_knows(index: SqliteIndex) -> None:
    a, b = chunk_id("a"), chunk_id("b")
    with index.transaction(durable=True):
        index.put([NumberedChunk(a, ChunkNumber(3), Location(SegmentNumber(1), 69, 5))], 1)
        index.put_wanted([(b, ChunkNumber(4))])
    given = Numbers(index, SegmentNumber(2), ChunkNumber(5)).give([a, b])
    assert given.numbers == {a: 3, b: 4}
    assert given.unknown == []
