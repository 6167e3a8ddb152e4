"""Frames: what was written is found, however it arrives, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.model.ids import ChunkId
from obnam.wire.frames import (
    FRAME_HEADER_BYTES,
    BadFrame,
    Frame,
    FrameReader,
    pack_header,
    split,
    unpack_header,
    write_header,
)
from obnam.wire.limits import SEALED_CHUNK_MAX

chunk_ids = st.binary(min_size=32, max_size=32).map(lambda tail: ChunkId(b"\x01" + tail))
contents = st.lists(st.tuples(chunk_ids, st.binary(max_size=60)), max_size=8)
ID = ChunkId(b"\x01" + bytes(range(32)))


def body_of(frames: list[tuple[ChunkId, bytes]]) -> bytes:
    return b"".join(pack_header(chunk_id, len(sealed)) + sealed for chunk_id, sealed in frames)


def pieces_of(body: bytes, steps: list[int]) -> list[bytes]:
    """The body in pieces of these sizes, then the rest."""
    pieces, at = [], 0
    for step in steps:
        pieces.append(body[at : at + step])
        at += step
    return [*pieces, body[at:]]


def read(pieces: list[bytes]) -> tuple[FrameReader, list[tuple[Frame, bytes]]]:
    reader, found = FrameReader(), []
    for piece in pieces:
        for each in reader.feed(piece):
            if isinstance(each, Frame):
                found.append((each, b""))
            else:
                frame, sealed = found[-1]
                found[-1] = (frame, sealed + bytes(each))
    return reader, found


@given(contents)
def test_split_finds_what_was_packed(frames: list[tuple[ChunkId, bytes]]) -> None:
    body = body_of(frames)
    found = list(split(memoryview(body)))
    assert [(x.chunk_id, body[x.offset : x.offset + x.length]) for x in found] == frames


@given(contents, st.lists(st.integers(0, 80), max_size=20))
def test_a_reader_fed_anyhow_finds_what_split_finds(
    frames: list[tuple[ChunkId, bytes]], steps: list[int]
) -> None:
    body = body_of(frames)
    reader, found = read(pieces_of(body, steps))
    assert [frame for frame, _ in found] == list(split(memoryview(body)))
    assert [sealed for _, sealed in found] == [sealed for _, sealed in frames]
    assert reader.at_end
    assert reader.position == len(body)


@given(contents.filter(bool), st.data())
def test_a_body_cut_short_is_noticed(
    frames: list[tuple[ChunkId, bytes]], data: st.DataObject
) -> None:
    body = body_of(frames)
    cut = data.draw(st.integers(0, len(body) - 1))
    boundaries = {0} | {frame.offset + frame.length for frame in split(memoryview(body))}
    reader, _ = read([body[:cut]])
    assert reader.at_end == (cut in boundaries)
    if cut not in boundaries:
        with pytest.raises(BadFrame, match="ends within"):
            list(split(memoryview(body)[:cut]))


@given(st.binary(max_size=300), st.lists(st.integers(0, 80), max_size=5))
def test_arbitrary_bytes_are_frames_or_refused(body: bytes, steps: list[int]) -> None:
    """And both ways of reading agree on which."""
    try:
        whole = list(split(memoryview(body)))
    except BadFrame:
        whole = None
    try:
        reader, found = read(pieces_of(body, steps))
        fed = [frame for frame, _ in found] if reader.at_end else None
    except BadFrame:
        fed = None
    assert fed == whole


def test_the_layout() -> None:
    header = ID + b"\x00\x00\x01\x02"
    assert pack_header(ID, 258) == header
    assert unpack_header(header) == (ID, 258)
    assert unpack_header(b"xx" + header, 2) == (ID, 258)
    buffer = bytearray(50)
    assert write_header(buffer, 5, ID, 258) == 5 + FRAME_HEADER_BYTES
    assert buffer == bytes(5) + header + bytes(50 - 5 - len(header))


def test_headers_that_are_refused() -> None:
    good = pack_header(ID, SEALED_CHUNK_MAX)
    assert unpack_header(good) == (ID, SEALED_CHUNK_MAX)
    with pytest.raises(BadFrame, match="larger"):
        unpack_header(pack_header(ID, SEALED_CHUNK_MAX + 1))
    with pytest.raises(BadFrame, match="chunk id"):
        unpack_header(b"\x02" + good[1:])
    for length in range(len(good)):
        with pytest.raises(BadFrame, match="ends within"):
            unpack_header(good[:length])


def test_a_reader_keeps_no_sealed_bytes() -> None:
    reader = FrameReader()
    list(reader.feed(pack_header(ID, 1000)))
    piece = bytes(600)
    (view,) = reader.feed(piece)
    assert isinstance(view, memoryview)
    assert view.obj is piece
    assert not reader.at_end
