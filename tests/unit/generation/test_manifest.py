"""Manifests: as they were written, signed, and nothing else accepted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open, crypto_sign_seed_keypair

from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.signing import Signer
from obnam.errors import SealBroken, UnknownFormat
from obnam.generation.manifest import SIGNATURE_CONTEXT, Link, Manifest, decode, encode
from obnam.generation.pagemap import PageChunk, PageMap, Run
from obnam.model.chunk import ChunkKind, SetSum
from obnam.model.ids import ClientName, GenerationId
from tests.unit.generation.rows import chunk_id

KEYS = RepositoryKeys.derive(MasterKey(bytes(range(32))))
SIGNER = Signer(KEYS)
VECTORS = Path(__file__).parents[2] / "vectors" / "manifest.json"

MANIFEST = Manifest(
    generation=GenerationId("0123456789abcdef" * 2),
    client=ClientName("laptop"),
    host="läptop.example",
    sequence=2,
    previous=Link(GenerationId("f" * 32), chunk_id(77)),
    partial=False,
    started_ns=1_800_000_000_000_000_000,
    ended_ns=1_800_000_001_000_000_001,
    roots=(b"/", b"/home/\xff"),
    counts={"entries": 10, "unchanged": 3},
    chunks=SetSum().add([chunk_id(1), chunk_id(2), chunk_id(3)]),
    database=PageMap(
        (PageChunk(chunk_id(1), 256), PageChunk(chunk_id(2), 3)),
        (Run(0, 200, 0, 0), Run(200, 3, 1, 0), Run(203, 53, 0, 203)),
    ),
    database_checksum=bytes(range(16)),
    obnam_version="1.0",
)


def signed(document: object) -> bytes:
    """Any document as a manifest with the right signature."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return SIGNATURE_CONTEXT + SIGNER.sign(SIGNATURE_CONTEXT, body) + body


def document_of(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        encode(manifest, SIGNER.sign)[len(SIGNATURE_CONTEXT) + 64 :]
    )
    return document


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        evolve(MANIFEST, previous=None, sequence=1, partial=True),
        evolve(MANIFEST, roots=(), counts={}, chunks=SetSum(), database=PageMap((), ())),
        evolve(MANIFEST, host="\udcff", obnam_version=""),
    ],
)
def test_what_was_written_is_read(manifest: Manifest) -> None:
    assert decode(encode(manifest, SIGNER.sign), SIGNER.verify) == manifest


def test_known_answers() -> None:
    document = json.loads(VECTORS.read_text("utf-8"))
    keys = RepositoryKeys.derive(MasterKey(bytes.fromhex(document["master"])))
    signer = Signer(keys)
    assert len(document["vectors"]) >= 3
    for vector in document["vectors"]:
        plaintext = bytes.fromhex(vector["plaintext"])
        manifest = decode(plaintext, signer.verify)
        assert encode(manifest, signer.sign) == plaintext
        assert Namer(keys).name(ChunkKind.MANIFEST, plaintext).hex() == vector["id"]
        assert manifest.sequence == vector["sequence"]
        assert manifest.partial == vector["partial"]


def test_the_written_format() -> None:
    """By the pages of docs/format alone, without our own code for manifests."""
    plaintext = encode(MANIFEST, SIGNER.sign)
    line, rest = plaintext[:17], plaintext[17:]
    signature, body = rest[:64], rest[64:]
    assert line == b"obnam manifest 1\n"
    public, _ = crypto_sign_seed_keypair(KEYS.signing_seed)
    message = b"obnam signature 1" + bytes([len(line)]) + line + body
    assert crypto_sign_open(signature + message, public) == message
    document = json.loads(body)
    assert body.decode() == json.dumps(document, separators=(",", ":"), sort_keys=True)
    assert document == {
        "generation": "0123456789abcdef0123456789abcdef",
        "client": "laptop",
        "host": "läptop.example",
        "sequence": 2,
        "previous": ["f" * 32, "01" + "00" * 31 + "4d"],
        "partial": False,
        "started_ns": 1_800_000_000_000_000_000,
        "ended_ns": 1_800_000_001_000_000_001,
        "roots": ["2f", "2f686f6d652fff"],
        "counts": {"entries": 10, "unchanged": 3},
        "chunks": [3, "01" + "00" * 32],
        "database": {
            "chunks": [["01" + "00" * 31 + "01", 256], ["01" + "00" * 31 + "02", 3]],
            "runs": [[0, 200, 0, 0], [200, 3, 1, 0], [203, 53, 0, 203]],
            "checksum": "000102030405060708090a0b0c0d0e0f",
        },
        "obnam_version": "1.0",
    }


def test_members_of_a_later_version_do_no_harm() -> None:
    document = document_of(MANIFEST)
    document["later"] = {"what": 1}
    assert decode(signed(document), SIGNER.verify) == MANIFEST


@pytest.mark.parametrize("at", [17, 50, 80, 81, 300, -1])
def test_any_change_breaks_the_signature(at: int) -> None:
    plaintext = bytearray(encode(MANIFEST, SIGNER.sign))
    plaintext[at] ^= 1
    with pytest.raises(SealBroken):
        decode(bytes(plaintext), SIGNER.verify)


@pytest.mark.parametrize("length", [17, 18, 80, 81, 200])
def test_any_cut_breaks_it_too(length: int) -> None:
    with pytest.raises(SealBroken):
        decode(encode(MANIFEST, SIGNER.sign)[:length], SIGNER.verify)


def test_another_repository_signed_it() -> None:
    other = Signer(RepositoryKeys.derive(MasterKey(bytes(32))))
    with pytest.raises(SealBroken):
        decode(encode(MANIFEST, other.sign), SIGNER.verify)


def test_a_signature_for_something_else() -> None:
    plaintext = encode(MANIFEST, lambda _, message: SIGNER.sign(b"other", message))
    with pytest.raises(SealBroken):
        decode(plaintext, SIGNER.verify)


@pytest.mark.parametrize("plaintext", [b"", b"obnam manifest 2\n" + bytes(100), b"\xff" * 100])
def test_another_format_is_told(plaintext: bytes) -> None:
    with pytest.raises(UnknownFormat):
        decode(plaintext, SIGNER.verify)


def changed(*path: str | int, to: object) -> bytes:
    document: Any = document_of(MANIFEST)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return signed(document)


NONSENSE: list[Callable[[], bytes]] = [
    lambda: signed(b""),
    lambda: signed(b"\xff"),
    lambda: signed(b"[" * 100_000),
    lambda: signed([]),
    lambda: signed({}),
    lambda: signed(None),
    lambda: signed(b'{"sequence": 1e999}'),
    lambda: changed("generation", to="x"),
    lambda: changed("generation", to=5),
    lambda: changed("client", to="../x"),
    lambda: changed("sequence", to=0),
    lambda: changed("sequence", to=-1),
    lambda: changed("sequence", to="2"),
    lambda: changed("sequence", to=True),
    lambda: changed("sequence", to=1.5),
    lambda: changed("sequence", to=float("inf")),
    lambda: changed("sequence", to=10**30),
    lambda: changed("previous", to=[]),
    lambda: changed("previous", to={}),
    lambda: changed("previous", to=["f" * 32, "zz"]),
    lambda: changed("previous", to=["f" * 32, "02" + "00" * 32]),
    lambda: changed("started_ns", to=None),
    lambda: changed("roots", to=[1]),
    lambda: changed("roots", to=["x"]),
    lambda: changed("counts", to=[]),
    lambda: changed("counts", to={"entries": "many"}),
    lambda: changed("chunks", to=[1]),
    lambda: changed("chunks", to=[1, 2]),
    lambda: changed("chunks", to=[-1, "00" * 33]),
    lambda: changed("chunks", to=[1, "00" * 34]),
    lambda: changed("chunks", to=[1, "-1"]),
    lambda: changed("database", to=[]),
    lambda: changed("database", "checksum", to="00"),
    lambda: changed("database", "chunks", to=[["00", 1]]),
    lambda: changed("database", "chunks", 0, 1, to=257),
    lambda: changed("database", "runs", to=[[0, 1, 0]]),
    lambda: changed("database", "runs", 0, to=[0, 1, 0, 0, 0]),
    lambda: changed("database", "runs", 0, 1, to=200.5),
    lambda: changed("database", "runs", 1, 0, to=201),
    lambda: changed("database", "runs", 0, 2, to=2),
]


@pytest.mark.parametrize("number", range(len(NONSENSE)))
def test_nonsense_is_a_value_error(number: int) -> None:
    with pytest.raises(ValueError):
        decode(NONSENSE[number](), SIGNER.verify)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
MEMBERS = sorted(document_of(MANIFEST))


@given(st.sampled_from(MEMBERS), JSON)
def test_whatever_a_member_is_nothing_else_is_raised(member: str, value: object) -> None:
    document = document_of(MANIFEST)
    document[member] = value
    try:
        decoded = decode(signed(document), SIGNER.verify)
    except ValueError:
        return
    # What is accepted can be written again.
    assert decode(encode(decoded, SIGNER.sign), SIGNER.verify) == decoded


@given(st.binary(max_size=200))
def test_whatever_it_is_nothing_else_is_raised(data: bytes) -> None:
    for plaintext in (data, SIGNATURE_CONTEXT + data, signed(data)):
        with pytest.raises((ValueError, UnknownFormat, SealBroken)):
            decode(plaintext, SIGNER.verify)
