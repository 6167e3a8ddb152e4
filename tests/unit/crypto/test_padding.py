"""Padding: long enough, not much longer, and few different lengths."""

import math

from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.padding import STORED_STEP, padded_length, stored_length

LENGTHS = st.integers(0, 1 << 27)


def padme_of_the_paper(length: int) -> int:
    """Algorithm 1 of the paper, with its floating point logarithms, and our two bits more."""
    if length < 2:
        return length
    exponent = math.floor(math.log2(length))
    significant = math.floor(math.log2(exponent)) + 1 if exponent else 0
    step = 1 << max(exponent - significant - 2, 0)
    return math.ceil(length / step) * step


@given(LENGTHS)
def test_it_is_the_paper_s_padme_made_finer(length: int) -> None:
    assert padded_length(length) == padme_of_the_paper(length)


@given(LENGTHS)
def test_never_shorter_and_at_most_3_percent_longer(length: int) -> None:
    assert length <= padded_length(length) <= length * 1.032 + 1


@given(LENGTHS)
def test_padding_twice_changes_nothing(length: int) -> None:
    assert padded_length(padded_length(length)) == padded_length(length)
    assert stored_length(stored_length(length)) == stored_length(length)


@given(LENGTHS)
def test_stored_data_grows_by_less_than_a_step(length: int) -> None:
    assert length <= stored_length(length) < length + STORED_STEP
    assert stored_length(length) <= padded_length(length)


@given(LENGTHS, LENGTHS)
def test_order_is_kept(one: int, two: int) -> None:
    """So that the bound for the largest chunk is a bound for all."""
    low, high = sorted((one, two))
    assert padded_length(low) <= padded_length(high)
    assert stored_length(low) <= stored_length(high)


def test_few_lengths_are_left() -> None:
    assert len({padded_length(length) for length in range(100_000, 200_000)}) < 270
