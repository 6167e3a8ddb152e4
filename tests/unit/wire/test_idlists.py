"""Lists of ids and bits: back and forth, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.model.ids import ChunkId
from obnam.wire.idlists import (
    pack_bits,
    pack_ids,
    pack_references,
    unpack_bits,
    unpack_ids,
    unpack_references,
)
from obnam.wire.limits import REFERENCE_IDS_MAX
from obnam.wire.messages import BadMessage

IDS = st.lists(st.binary(min_size=32, max_size=32).map(lambda b: ChunkId(b"\x01" + b)), max_size=20)


@given(IDS, IDS)
def test_ids_come_back(added: list[ChunkId], removed: list[ChunkId]) -> None:
    assert unpack_ids(pack_ids(added), 20) == added
    assert unpack_references(pack_references(added, removed)) == (added, removed)


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back(flags: list[bool]) -> None:
    assert unpack_bits(pack_bits(flags), len(flags)) == flags


def test_the_order_of_bits() -> None:
    assert pack_bits([True] + [False] * 7 + [False, True]) == b"\x80\x40"


@pytest.mark.parametrize("body", [b"\x01" * 32, b"\x01" * 34, b"\x02" + bytes(32)])
def test_what_is_no_list_of_ids(body: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack_ids(body, 10)


def test_too_many_ids() -> None:
    one = b"\x01" + bytes(32)
    assert len(unpack_ids(one * 3, 3)) == 3
    with pytest.raises(BadMessage):
        unpack_ids(one * 4, 3)
    with pytest.raises(BadMessage):
        unpack_references(bytes(4) + one * (REFERENCE_IDS_MAX + 1))


@pytest.mark.parametrize("body", [b"", b"\0\0\0", b"\0\0\0\2\x01" + bytes(32)])
def test_what_are_no_references(body: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack_references(body)


@pytest.mark.parametrize(("body", "count"), [(b"", 1), (b"\0\0", 8), (b"\x01", 7), (b"\x40", 1)])
def test_what_are_no_bits(body: bytes, count: int) -> None:
    with pytest.raises(BadMessage):
        unpack_bits(body, count)
