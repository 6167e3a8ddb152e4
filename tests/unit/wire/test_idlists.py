"""Lists of ids, and bits: what was packed comes back, and nothing else is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.model.ids import CHUNK_ID_BYTES, ChunkId
from obnam.wire.idlists import (
    REFERENCES_BODY_MAX,
    pack_bits,
    pack_ids,
    pack_references,
    unpack_bits,
    unpack_ids,
    unpack_references,
)
from obnam.wire.limits import REFERENCE_IDS_MAX
from obnam.wire.messages import BadMessage

chunk_ids = st.binary(min_size=32, max_size=32).map(lambda tail: ChunkId(b"\x01" + tail))
id_lists = st.lists(chunk_ids, max_size=10)
ID = ChunkId(b"\x01" + bytes(32))


@given(id_lists)
def test_ids_come_back(ids: list[ChunkId]) -> None:
    assert unpack_ids(pack_ids(ids), 10) == ids


@given(id_lists, id_lists)
def test_references_come_back(added: list[ChunkId], removed: list[ChunkId]) -> None:
    assert unpack_references(pack_references(added, removed)) == (added, removed)


@given(st.lists(st.booleans(), max_size=40))
def test_bits_come_back(flags: list[bool]) -> None:
    packed = pack_bits(flags)
    assert len(packed) == -(-len(flags) // 8)
    assert unpack_bits(packed, len(flags)) == flags


def test_the_first_bit_is_the_most_significant() -> None:
    assert pack_bits([True] + [False] * 7 + [True]) == b"\x80\x80"
    assert pack_bits([]) == b""


def test_lists_that_are_refused() -> None:
    for body in (ID[:-1], ID + b"\x01", b"\x02" + ID[1:], ID + b"\0" + ID[1:]):
        with pytest.raises(BadMessage):
            unpack_ids(body, 10)
    assert unpack_ids(ID * 3, 3) == [ID] * 3
    with pytest.raises(BadMessage, match="more than 3"):
        unpack_ids(ID * 4, 3)


def test_references_that_are_refused() -> None:
    for body in (b"", b"\0\0\0", b"\0\0\0\2" + ID, b"\0\0\0\0" + ID[1:], b"\xff\xff\xff\xff"):
        with pytest.raises(BadMessage):
            unpack_references(body)
    largest = pack_references([ID] * REFERENCE_IDS_MAX, [])
    assert len(largest) == REFERENCES_BODY_MAX
    assert len(unpack_references(largest)[0]) == REFERENCE_IDS_MAX
    with pytest.raises(BadMessage, match="more than"):
        unpack_references(pack_references([ID] * REFERENCE_IDS_MAX, [ID]))


@given(st.binary(max_size=4), st.integers(0, 40))
def test_any_bytes_are_bits_or_refused(body: bytes, count: int) -> None:
    try:
        flags = unpack_bits(body, count)
    except BadMessage:
        return
    assert pack_bits(flags) == body


@given(st.binary(max_size=4 * CHUNK_ID_BYTES))
def test_any_bytes_are_references_or_refused(body: bytes) -> None:
    try:
        added, removed = unpack_references(body)
    except BadMessage:
        return
    assert pack_references(added, removed) == body
