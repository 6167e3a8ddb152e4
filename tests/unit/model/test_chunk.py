"""Sums of sets of chunk ids."""

from hypothesis import given
from hypothesis import strategies as st

from obnam.model.chunk import ChunkKind, SetSum
from obnam.model.ids import ChunkId

chunk_ids = st.binary(min_size=32, max_size=32).map(lambda tail: ChunkId(b"\x01" + tail))
sets = st.sets(chunk_ids, max_size=12)


@given(sets, sets)
def test_a_sum_depends_on_the_set_not_on_the_way_to_it(
    one: set[ChunkId], two: set[ChunkId]
) -> None:
    whole = SetSum().add(one | two)
    assert SetSum().add(two - one).add(sorted(one)) == whole
    assert whole.remove(two - one) == SetSum().add(one)
    assert whole.remove(one | two) == SetSum()
    assert whole.count == len(one | two)


@given(sets, chunk_ids)
def test_one_id_more_is_another_sum(ids: set[ChunkId], extra: ChunkId) -> None:
    ids = ids - {extra}
    assert SetSum().add(ids).add([extra]) != SetSum().add(ids)


@given(sets)
def test_in_hexadecimal(ids: set[ChunkId]) -> None:
    summed = SetSum().add(ids)
    assert len(summed.xor_hex) == 66
    assert int(summed.xor_hex, 16) == summed.xor


def test_kinds_keep_their_numbers() -> None:
    """They are part of every sealed chunk's associated data."""
    assert {kind.name: kind.value for kind in ChunkKind} == {
        "DATA": 1,
        "GENERATION_DATABASE": 2,
        "MANIFEST": 3,
        "KEYRING_SLOT": 4,
    }
