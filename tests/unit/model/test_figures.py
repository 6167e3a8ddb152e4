"""Figures as people read them."""

import pytest

from obnam.model.figures import counted, size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (16_133, "16.1 kB"),
        (210_400_000, "210.4 MB"),
        (1_340_000_000, "1.3 GB"),
        (1_234_500_000_000_000, "1,234.5 TB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_one_and_many() -> None:
    assert [counted(number, "chunk") for number in (0, 1, 2)] == ["0 chunks", "1 chunk", "2 chunks"]
