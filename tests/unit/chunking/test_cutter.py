"""The cutter: sizes within limits, and the same cuts however the bytes arrive."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obnam.chunking.cutter import MAXIMUM, MINIMUM, Cutter

SMALL = Cutter(seed=0x1234_5678_9ABC_DEF1, minimum=64, average=256, maximum=1024)


def noise(seed: int, length: int) -> bytes:
    return hashlib.shake_128(b"cutter %d" % seed).digest(length)


# long runs make the maximum bite, noise makes the content cut
streams = st.lists(
    st.one_of(
        st.builds(noise, st.integers(0, 50), st.integers(0, 4000)),
        st.builds(
            lambda byte, length: bytes([byte]) * length, st.integers(0, 255), st.integers(0, 3000)
        ),
        st.binary(max_size=100),
    ),
    max_size=6,
).map(b"".join)


def fed(cutter: Cutter, stream: bytes, steps: list[int]) -> list[int]:
    """The cuts when the stream arrives in buffers of ``steps`` bytes, then the rest."""
    ends: list[int] = []
    start = have = 0
    for step in steps:
        have = min(have + step, len(stream))
        found = cutter.cut(memoryview(stream)[start:have], final=False)
        ends += [start + end for end in found]
        start = ends[-1] if ends else 0
    ends += [start + end for end in cutter.cut(memoryview(stream)[start:], final=True)]
    return ends


@given(streams)
def test_pieces_cover_the_stream_within_the_limits(stream: bytes) -> None:
    ends = SMALL.cut(memoryview(stream), final=True)
    assert (ends[-1] if ends else 0) == len(stream)
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert all(64 <= size <= 1024 for size in sizes[:-1])
    assert all(0 < size <= 1024 for size in sizes[-1:])


@settings(max_examples=300)
@given(streams, st.lists(st.integers(0, 2500), max_size=12))
def test_any_feeding_gives_the_same_cuts(stream: bytes, steps: list[int]) -> None:
    assert fed(SMALL, stream, steps) == SMALL.cut(memoryview(stream), final=True)


@given(streams)
def test_what_is_left_for_the_next_buffer_is_less_than_a_maximum(stream: bytes) -> None:
    ends = SMALL.cut(memoryview(stream), final=False)
    assert len(stream) - (ends[-1] if ends else 0) < 1024


def test_the_real_sizes_fed_in_four_mebibytes() -> None:
    cutter = Cutter(seed=99)
    stream = noise(1, 9 << 20) + bytes(5 << 20) + noise(2, 3 << 20)
    whole = cutter.cut(memoryview(stream), final=True)
    assert fed(cutter, stream, [4 << 20] * 5) == whole
    sizes = [end - start for start, end in zip([0, *whole], whole, strict=False)]
    assert all(MINIMUM <= size <= MAXIMUM for size in sizes[:-1])
    assert MAXIMUM in sizes


def test_an_insertion_moves_few_cuts() -> None:
    stream = noise(3, 200_000)
    changed = stream[:50_000] + b"inserted" + stream[50_000:]
    before = SMALL.cut(memoryview(stream), final=True)
    after = {end - 8 for end in SMALL.cut(memoryview(changed), final=True)}
    moved = [end for end in before if end > 50_000 and end not in after]
    assert len(moved) < 20 < len(before)


def test_the_seed_moves_the_cuts() -> None:
    stream = noise(4, 100_000)
    cuts = [
        Cutter(seed, 64, 256, 1024).cut(memoryview(stream), final=True)
        for seed in (0, 1, 0x5DEE_CE66_D123_4567, (1 << 63) - 1)
    ]
    for number, one in enumerate(cuts):
        for other in cuts[number + 1 :]:
            assert len(set(one) & set(other)) < len(one) / 4


@pytest.mark.parametrize("seed", [-1, 1 << 63, 1 << 64])
def test_a_seed_has_63_bits(seed: int) -> None:
    with pytest.raises(ValueError, match="63 bits"):
        Cutter(seed)
