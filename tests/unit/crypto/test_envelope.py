"""The envelope: what goes in comes out, and nothing else opens."""

import os
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.envelope import (
    PLAINTEXT_MAX,
    BadEnvelope,
    Compression,
    Packer,
    Unpacker,
    length_max,
)

HEADER = struct.Struct("<BI")
ZSTD, NONE = Packer(Compression(1)), Packer(Compression(None))
UNPACKER = Unpacker()


def packed(plaintext: bytes, packer: Packer = ZSTD) -> bytes:
    area = memoryview(bytearray(b"\xff" * length_max(len(plaintext))))
    return bytes(area[: packer.pack_into(plaintext, area)])


def opened(envelope: bytes) -> bytes:
    return bytes(UNPACKER.unpack(memoryview(envelope)))


def frame(plaintext: bytes, content_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=content_size).compress(plaintext)


@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from([ZSTD, NONE]))
def test_roundtrip(part: bytes, times: int, packer: Packer) -> None:
    envelope = packed(part * times, packer)
    assert opened(envelope) == part * times
    assert len(envelope) <= length_max(len(part) * times)


def test_data_that_shrinks_is_compressed_and_other_data_is_not() -> None:
    text, noise = b"the same again and again, " * 1000, os.urandom(26_000)
    assert packed(text)[0] == 1
    assert len(packed(text)) < 500
    assert packed(text, NONE)[0] == 0
    assert packed(noise)[0] == 0
    assert len(packed(noise)) < len(noise) + 1100


def test_the_largest_chunk_fits_and_a_larger_one_is_refused() -> None:
    # zeros: as little memory touched as can be
    assert len(opened(packed(bytes(PLAINTEXT_MAX)))) == PLAINTEXT_MAX
    with pytest.raises(ValueError, match="larger"):
        packed(bytes(PLAINTEXT_MAX + 1))


REFUSED = {
    "empty": b"",
    "cut header": b"\0\0\0",
    "unknown method": HEADER.pack(2, 3) + b"abc",
    "stored, cut short": HEADER.pack(0, 4) + b"abc",
    "stored, padding not zero": HEADER.pack(0, 3) + b"abc\0\1\0",
    "stored, too long": HEADER.pack(0, PLAINTEXT_MAX + 1) + b"abc",
    "zstd, no frame": HEADER.pack(1, 3) + b"abc",
    "zstd, nothing": HEADER.pack(1, 0),
    "zstd, length too large": HEADER.pack(1, 4) + frame(b"abc"),
    "zstd, length too small": HEADER.pack(1, 2) + frame(b"abc"),
    "zstd, no content size": HEADER.pack(1, 3) + frame(b"abc", content_size=False),
    "zstd, cut short": HEADER.pack(1, 3) + frame(b"abc")[:-1],
    "zstd, padding not zero": HEADER.pack(1, 3) + frame(b"abc") + b"\0\0\1",
    "zstd, two frames": HEADER.pack(1, 3) + frame(b"abc") + frame(b"abc"),
    "zstd, too long": HEADER.pack(1, PLAINTEXT_MAX + 1) + frame(bytes(PLAINTEXT_MAX + 1)),
    "zstd, skippable frame": HEADER.pack(1, 0) + b"\x50\x2a\x4d\x18\x04\0\0\0abcd",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_envelope_is_refused(name: str) -> None:
    with pytest.raises(BadEnvelope):
        opened(REFUSED[name])
    assert opened(packed(b"text " * 100)) == b"text " * 100  # Nothing of it stays behind.


def test_any_amount_of_zeros_is_padding() -> None:
    assert opened(HEADER.pack(0, 3) + b"abc" + bytes(5000)) == b"abc"
    assert opened(HEADER.pack(1, 3) + frame(b"abc") + bytes(5000)) == b"abc"


@given(st.binary(max_size=100))
def test_a_damaged_frame_never_fails_otherwise(damage: bytes) -> None:
    """Whatever stands in an envelope: it opens, or `BadEnvelope`."""
    for envelope in (HEADER.pack(1, 3) + damage, HEADER.pack(1, 3) + frame(b"abc")[:5] + damage):
        try:
            assert len(opened(envelope)) == 3
        except BadEnvelope:
            continue


@pytest.mark.parametrize("text", ["none", "zstd:1", "zstd:-7", "zstd:0", "zstd:19"])
def test_settings(text: str) -> None:
    assert str(Compression.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "zstd", "zstd:", "zstd:20", "zstd:-8", "zstd:1.5", "gzip:1", "zstd: 1", "zstd:+1", "None"],
)
def test_other_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no compression"):
        Compression.parse(text)


def test_the_setting_is_obeyed() -> None:
    text = b"".join(b"%d, " % (n * n) for n in range(20_000))
    fast, small = packed(text, Packer(Compression(-7))), packed(text, Packer(Compression(19)))
    assert len(small) < len(packed(text)) < len(fast)
    assert opened(fast) == opened(small) == text
