"""Chunk ids: the same bytes, the same name; another kind, key or byte, another name."""

from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.names import Namer
from obnam.model.chunk import ChunkKind
from obnam.model.ids import parse_chunk_id

NAMER = Namer(RepositoryKeys.derive(MasterKey(bytes(32))))


@given(st.binary(max_size=2000))
def test_a_name_depends_on_the_bytes_not_on_what_holds_them(plaintext: bytes) -> None:
    name = NAMER.name(ChunkKind.DATA, plaintext)
    assert parse_chunk_id(name) == name
    assert NAMER.name(ChunkKind.DATA, memoryview(bytearray(plaintext))) == name
    assert NAMER.name(ChunkKind.DATA, bytearray(plaintext)) == name


def test_names_differ_by_kind_key_and_content() -> None:
    other = Namer(RepositoryKeys.derive(MasterKey(bytes([1]) * 32)))
    names = {NAMER.name(kind, b"x") for kind in ChunkKind}
    names |= {other.name(kind, b"x") for kind in ChunkKind}
    names.add(NAMER.name(ChunkKind.DATA, b"y"))
    assert len(names) == 2 * len(ChunkKind) + 1
