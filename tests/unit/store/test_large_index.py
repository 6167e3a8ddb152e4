"""What the index does in another way because there may be very much of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.messages import GenerationSummary, Receipt
from obnam_server.store.errors import StoreFull
from obnam_server.store.index import chunks as chunk_index
from obnam_server.store.index import union as generation_union
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.index.union import Gathered
from obnam_server.store.seams.values import (
    ChunkNumber,
    GenerationRecord,
    Location,
    NumberedChunk,
    Placed,
    SegmentNumber,
)
from obnam_server.store.segments.format import SegmentKind

CLIENTS = [ClientName("alice"), ClientName("bob")]


def named(sequence: int) -> GenerationId:
    return GenerationId(f"{sequence:032x}")


def record(
    sequence: int, client: ClientName = CLIENTS[0], partial: bool = False
) -> GenerationRecord:
    summary = GenerationSummary(
        Receipt(named(sequence), sequence, 1000 + sequence), client, None, partial, 1
    )
    place = Location(SegmentNumber(sequence), 32, 8)
    return GenerationRecord(summary, None, SetSum(1, 1), ChunkId(bytes(33)), place)


def put(index: SqliteIndex, sequence: int, *numbers: int) -> None:
    index.put_generation(record(sequence), BitMap64(numbers))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqliteIndex]:
    made = SqliteIndex(tmp_path / "index.sqlite")
    yield made
    made.close(clean=True)


def test_the_live_set_grows_with_commits_and_shrinks_with_what_is_expunged(
    index: SqliteIndex,
) -> None:
    with index.transaction(durable=False):
        put(index, 1, 1, 2)
        put(index, 2, 2, 3)
    assert index.live_set(1) == BitMap64([1, 2, 3])
    with index.transaction(durable=False):
        put(index, 3, 9)
    assert index.live_set(1) == BitMap64([1, 2, 3, 9])
    with index.transaction(durable=False):
        index.remove_generations(BitMap64([1]))
    assert index.live_set(1) == BitMap64([2, 3, 9])
    assert index.live_set(3) == BitMap64([9])


def test_what_was_given_out_is_the_callers_to_change(index: SqliteIndex) -> None:
    with index.transaction(durable=False):
        put(index, 1, 1, 2)
    index.live_set(1).clear()
    assert index.live_set(1) == BitMap64([1, 2])


def test_what_is_undone_is_never_taken_for_what_came_in_its_place(index: SqliteIndex) -> None:
    with index.transaction(durable=False):
        put(index, 1, 1)
    with pytest.raises(StoreFull), index.transaction(durable=False):
        put(index, 2, 7)
        assert index.live_set(1) == BitMap64([1, 7])
        raise StoreFull("disk")
    with index.transaction(durable=False):
        put(index, 2, 8)
    assert index.live_set(1) == BitMap64([1, 8])


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_in_any_order_it_is_what_all_sets_together_are(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    index = SqliteIndex(tmp_path_factory.mktemp("index") / "index.sqlite")
    there: dict[int, set[int]] = {}
    chunks = st.sets(st.integers(0, 30), max_size=5)
    for _ in range(data.draw(st.integers(1, 15))):
        with index.transaction(durable=False):
            going = data.draw(st.sets(st.sampled_from(sorted(there)))) if there else set()
            index.remove_generations(BitMap64(going))
            there = {key: numbers for key, numbers in there.items() if key not in going}
            for _ in range(data.draw(st.integers(0, 2))):
                sequence = index.next_sequence()
                there[sequence] = data.draw(chunks)
                put(index, sequence, *there[sequence])
        if data.draw(st.booleans()):
            assert set(index.live_set(1)) == set().union(*there.values())
    assert set(index.live_set(1)) == set().union(*there.values())
    index.close(clean=True)


def test_how_much_lies_in_each_segment_is_counted_whatever_the_span(
    index: SqliteIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = {number: 10 + number for number in (0, 1, 4, 5, 6, 11, 12, 40)}
    with index.transaction(durable=False):
        for number, length in lengths.items():
            place = Location(SegmentNumber(1 + number % 3), 32, length)
            chunk_id = ChunkId(b"\x01" + bytes(31) + bytes([number]))
            index.put([NumberedChunk(chunk_id, ChunkNumber(number), place)], SegmentKind.CHUNKS)
    counted = {
        segment + 1: Placed(
            len(mine := [number for number in lengths if number % 3 == segment]),
            sum(lengths[number] for number in mine),
        )
        for segment in range(3)
    }
    for span in (1, 4, 5, 41, 1000):
        monkeypatch.setattr(chunk_index, "_GROUPED_SPAN", span)
        assert index.placed() == counted
    assert index.all_stored() == BitMap64(lengths)


LARGE = st.one_of(
    st.integers(0, 200),
    st.integers(2**16 - 3, 2**16 + 3),
    st.integers(2**32 - 3, 2**32 + 3),
    st.integers(2**40, 2**40 + 2),
)


@given(st.lists(st.sets(LARGE)), st.sets(LARGE), st.sampled_from([1, 40, 4 << 20]))
def test_sets_that_are_gathered_are_their_union(
    sets: list[set[int]], before: set[int], at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation_union, "_GATHERED_BYTES", at_once)
        gathered = Gathered(BitMap64(before))
        for numbers in sets:
            one = BitMap64(numbers)
            one.run_optimize()
            gathered.add(one.serialize())
        assert set(gathered.all()) == before.union(*sets)


@pytest.mark.parametrize("broken", [b"1234", bytes(range(40)), b"\1" + bytes(11)])
def test_what_is_no_set_is_not_taken_for_one(broken: bytes) -> None:
    gathered = Gathered(BitMap64())
    with pytest.raises(ValueError, match="serializ"):
        gathered.add(broken)
        gathered.all()


def test_the_trash_is_what_was_put_last(index: SqliteIndex) -> None:
    with index.transaction(durable=False):
        for sequence in (1, 2, 3):
            put(index, sequence, sequence)
        index.put_trash({named(1): 50, named(2): 60})
    with index.transaction(durable=False):
        index.put_trash({named(2): 61, named(3): 70})
    assert [trashed for _, trashed in index.all_generations()] == [None, 61, 70]
    assert [each.receipt.sequence for each in index.list_generations(0, 9)] == [1]
    assert index.generation_count() == 1


def test_generations_are_listed_in_order_page_by_page_and_trashed_ones_in_their_place(
    index: SqliteIndex,
) -> None:
    with index.transaction(durable=False):
        for sequence in (3, 1, 2, 4):
            put(index, sequence, sequence)
        index.put_trash({named(2): 5, named(4): 4})
    assert [each.receipt.sequence for each, _ in index.all_generations()] == [1, 2, 3, 4]
    assert index.list_generations(0, 1) == [record(1).summary]
    assert index.list_generations(1, 1) == [record(3).summary]


def test_a_clients_newest_are_the_newest_and_the_newest_complete_one(index: SqliteIndex) -> None:
    alice, bob = CLIENTS
    with index.transaction(durable=False):
        for sequence, client, partial in (
            *((1, alice, False), (2, alice, False), (3, alice, True), (4, alice, True)),
            *((5, bob, True), (6, bob, False), (7, bob, False)),
        ):
            index.put_generation(record(sequence, client, partial), BitMap64([1]))
        index.put_trash({named(7): 5})
    assert index.newest(alice) == {named(4), named(2)}
    assert index.newest(bob) == {named(6)}
    assert index.newest(ClientName("carol")) == set()
