"""The layout of a segment, byte by byte."""

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from obnam.errors import UnknownFormat
from obnam.model.ids import ChunkId
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.values import ChunkNumber, SegmentNumber
from obnam_server.store.segments.format import (
    ENTRY_BYTES,
    FOOTER_BYTES,
    HEADER_BYTES,
    Entry,
    Footer,
    SegmentKind,
    pack_header,
    pack_trailer,
    part_id,
    unpack_entries,
    unpack_footer,
    unpack_header,
)

REPOSITORY = bytes(range(16))
SEGMENT = SegmentNumber(0x1234)
ENTRY = Entry(ChunkId(b"\x01" + b"i" * 32), ChunkNumber(7), 69, 5, b"d" * 16)
FOOTER = Footer(SegmentKind.CHUNKS, REPOSITORY, SEGMENT, 1_800_000_000_000_000_000, 74, 1)


def test_sizes_are_what_the_format_page_says() -> None:
    assert (HEADER_BYTES, ENTRY_BYTES, FOOTER_BYTES) == (32, 69, 72)


def test_known_header() -> None:
    assert pack_header(SegmentKind.COMMIT, REPOSITORY).hex() == (
        "6f626e616d7365670102000000000000000102030405060708090a0b0c0d0e0f"
    )


def test_known_trailer() -> None:
    covered = bytes.fromhex(
        "01" + "69" * 32 + "0000000000000007000000000000004500000005" + "64" * 16
    ) + bytes.fromhex(
        "6f626e616d656e64"
        "01"
        "01"
        "0000"
        "00000001"
        "000102030405060708090a0b0c0d0e0f"
        "0000000000001234"
        "18fae27693b40000"
        "000000000000004a"
    )
    assert pack_trailer(FOOTER, [ENTRY]) == covered + xxhash.xxh3_128_digest(covered)


def test_part_ids_are_no_chunk_ids() -> None:
    assert part_id("receipt") == b"\0receipt" + b"\0" * 25


entries = st.lists(
    st.builds(
        Entry,
        st.binary(min_size=33, max_size=33).map(ChunkId),
        st.integers(0, 2**64 - 1).map(ChunkNumber),
        st.integers(32, 1000),
        st.integers(0, 1000),
        st.binary(min_size=16, max_size=16),
    ),
    max_size=5,
)


@given(entries)
def test_what_is_packed_is_unpacked(wanted: list[Entry]) -> None:
    footer = Footer(SegmentKind.CHUNKS, REPOSITORY, SEGMENT, 5, 2000, len(wanted))
    trailer = pack_trailer(footer, wanted)
    assert 2000 + len(trailer) == footer.size_bytes
    assert unpack_footer(trailer[-FOOTER_BYTES:], SEGMENT, footer.size_bytes) == footer
    assert unpack_entries(trailer, footer) == wanted


@pytest.mark.parametrize("at", range(ENTRY_BYTES + FOOTER_BYTES))
def test_each_flipped_bit_of_a_trailer_is_found(at: int) -> None:
    trailer = bytearray(pack_trailer(FOOTER, [ENTRY]))
    trailer[at] ^= 1 << at % 8
    with pytest.raises((DamagedSegment, UnknownFormat)):
        found = unpack_footer(bytes(trailer[-FOOTER_BYTES:]), SEGMENT, FOOTER.size_bytes)
        unpack_entries(bytes(trailer), found)


@pytest.mark.parametrize("size_bytes", [FOOTER.size_bytes - 1, FOOTER.size_bytes + 1, 0])
def test_another_size_than_the_footer_says(size_bytes: int) -> None:
    trailer = pack_trailer(FOOTER, [ENTRY])
    with pytest.raises(DamagedSegment):
        unpack_footer(trailer[-FOOTER_BYTES:], SEGMENT, size_bytes)


def test_a_segment_under_another_number() -> None:
    trailer = pack_trailer(FOOTER, [ENTRY])
    with pytest.raises(DamagedSegment, match="says that it is segment 0000000000001234"):
        unpack_footer(trailer[-FOOTER_BYTES:], SegmentNumber(1), FOOTER.size_bytes)


@pytest.mark.parametrize(("offset", "length"), [(31, 5), (70, 5), (32, 43)])
def test_a_frame_outside(offset: int, length: int) -> None:
    entry = Entry(ENTRY.chunk_id, ENTRY.number, offset, length, ENTRY.digest)
    with pytest.raises(DamagedSegment, match="lies outside"):
        unpack_entries(pack_trailer(FOOTER, [entry]), FOOTER)


def test_a_newer_version() -> None:
    header = bytearray(pack_header(SegmentKind.CHUNKS, REPOSITORY))
    header[8] = 2
    with pytest.raises(UnknownFormat):
        unpack_header(bytes(header), SEGMENT)
