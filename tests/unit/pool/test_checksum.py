"""The checksum of a content with holes is that of the content with zeros."""

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from obnam.pool.checksum import ContentChecksum


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=100)), max_size=8),
    st.integers(0, 9),
)
def test_holes_are_zeros(parts: list[tuple[int, bytes]], tail: int) -> None:
    content, digest = bytearray(), ContentChecksum()
    for gap, data in parts:
        content += bytes(gap)
        digest.update(len(content), memoryview(data))
        content += data
    size = len(content) + tail
    assert digest.finish(size) == xxhash.xxh3_128_digest(bytes(content) + bytes(tail))


def test_huge_holes() -> None:
    digest = ContentChecksum()
    digest.update((5 << 20) + 3, memoryview(b"x"))
    expected = bytes((5 << 20) + 3) + b"x" + bytes(2 << 20)
    assert digest.finish((7 << 20) + 4) == xxhash.xxh3_128_digest(expected)


def test_nothing() -> None:
    assert ContentChecksum().finish(0) == xxhash.xxh3_128_digest(b"")
