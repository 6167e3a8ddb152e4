"""Bundles: every byte of every file is found where the extents say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.chunking.bundle import lay_out


@given(st.lists(st.binary(max_size=30), max_size=40), st.data())
def test_files_come_back_from_the_pieces(files: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(files)
    inner = data.draw(st.sets(st.integers(1, max(len(stream) - 1, 1)), max_size=20))
    ends = sorted(end for end in inner if end < len(stream)) + [len(stream)] * bool(stream)
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    laid = lay_out([len(file) for file in files], ends)
    for file, extents in zip(files, laid, strict=True):
        parts = [pieces[piece][offset : offset + length] for piece, offset, length in extents]
        assert [len(part) for part in parts] == [length for _, _, length in extents]
        assert all(parts)
        assert b"".join(parts) == file


def test_examples() -> None:
    assert lay_out([], []) == []
    assert lay_out([0, 0], []) == [[], []]
    assert lay_out([3, 0, 4], [7]) == [[(0, 0, 3)], [], [(0, 3, 4)]]
    assert lay_out([5, 2, 3], [4, 7, 10]) == [
        [(0, 0, 4), (1, 0, 1)],
        [(1, 1, 2)],
        [(2, 0, 3)],
    ]
    assert lay_out([10], [2, 5, 10]) == [[(0, 0, 2), (1, 0, 3), (2, 0, 5)]]


@pytest.mark.parametrize(
    ("lengths", "ends"),
    [([5], [4]), ([5], []), ([3], [4]), ([], [4]), ([5, -1], [4]), ([2, 1], [2])],
)
def test_lengths_and_pieces_that_do_not_fit_are_refused(
    lengths: list[int], ends: list[int]
) -> None:
    with pytest.raises(ValueError, match="longer"):
        lay_out(lengths, ends)
