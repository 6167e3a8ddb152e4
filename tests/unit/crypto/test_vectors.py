"""The known answers in tests/vectors: a change here orphans repositories that exist."""

import hashlib
import json
from pathlib import Path
from typing import Any

import nacl.bindings
import pytest

from obnam.chunking.cutter import AVERAGE, MAXIMUM, MINIMUM, Cutter
from obnam.crypto import keyring
from obnam.crypto.envelope import Compression
from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.padding import padded_length, stored_length
from obnam.crypto.seal import Opener, Sealer, Suite, sealed_length_max
from obnam.crypto.signing import Signer
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId
from obnam.wire.messages import KeyringSlot

VECTORS = Path(__file__).parents[2] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text("utf-8"))


def keys_of(document: Any) -> RepositoryKeys:
    return RepositoryKeys.derive(MasterKey(bytes.fromhex(document["master"])))


def plaintext_of(vector: Any) -> bytes:
    text: str = vector["text"]
    return text.encode() * int(vector["times"])


def test_keys() -> None:
    vectors = load("keys.json")["vectors"]
    assert len(vectors) == 3
    for vector in vectors:
        keys = keys_of(vector)
        assert {kind.name: keys.id_keys[kind].hex() for kind in ChunkKind} == vector["id"]
        assert keys.data.hex() == vector["data"]
        assert keys.metadata.hex() == vector["metadata"]
        assert keys.cutter_seed == vector["cutter_seed"]
        assert keys.signing_seed.hex() == vector["signing_seed"]
        assert keys.fingerprint == vector["fingerprint"]


def test_names() -> None:
    document = load("names.json")
    namer = Namer(keys_of(document))
    for vector in document["vectors"]:
        named = namer.name(ChunkKind[vector["kind"]], plaintext_of(vector))
        assert named.hex() == vector["id"]


def test_padding() -> None:
    for length, padme, stored in load("padding.json")["vectors"]:
        assert (padded_length(length), stored_length(length)) == (padme, stored)


def test_seals_open() -> None:
    document = load("seal.json")
    opener = Opener(keys_of(document))
    for vector in document["vectors"]:
        kind, chunk_id = ChunkKind[vector["kind"]], ChunkId(bytes.fromhex(vector["id"]))
        opened = opener.open(kind, chunk_id, bytes.fromhex(vector["sealed"]))
        assert opened == plaintext_of(vector)


def test_seals_are_made_as_before() -> None:
    document = load("seal.json")
    keys = keys_of(document)
    for vector in document["vectors"]:
        plaintext = plaintext_of(vector)
        if vector["compression"] != "none" and len(plaintext) > 1:
            continue  # what zstd makes of it is zstd's to change
        sealer = Sealer(keys, Suite[vector["suite"]], Compression.parse(vector["compression"]))
        area = memoryview(bytearray(sealed_length_max(len(plaintext))))
        length = sealer._seal_from_parts(
            ChunkKind[vector["kind"]],
            ChunkId(bytes.fromhex(vector["id"])),
            plaintext,
            area,
            bytes.fromhex(vector["nonce"]),
        )
        assert bytes(area[:length]).hex() == vector["sealed"]


def test_seals_follow_the_written_format() -> None:
    """By PyNaCl's public functions and docs/format/chunk.md alone, without our own code."""
    document = load("seal.json")
    master = bytes.fromhex(document["master"])
    decrypt = {
        1: nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt,
        2: nacl.bindings.crypto_aead_aegis256_decrypt,
    }
    seen = set()
    for vector in document["vectors"]:
        context = b"data" if vector["kind"] == "DATA" else b"metadata"
        key = hashlib.blake2b(context, digest_size=32, key=master, person=b"obnam keys 1").digest()
        kind = {"DATA": 1, "GENERATION_DATABASE": 2, "MANIFEST": 3}[vector["kind"]]
        sealed = bytes.fromhex(vector["sealed"])
        assert sealed[0] == 1
        assert sealed[2:4] == b"\0\0"
        nonce_bytes = {1: 24, 2: 32}[sealed[1]]
        seen.add((kind, sealed[1]))
        associated = b"obnam chunk 1" + sealed[:4] + bytes([kind]) + bytes.fromhex(vector["id"])
        inside = decrypt[sealed[1]](
            sealed[4 + nonce_bytes :], associated, sealed[4 : 4 + nonce_bytes], key
        )
        plaintext = plaintext_of(vector)
        assert int.from_bytes(inside[1:5], "little") == len(plaintext)
        if inside[0] == 0:
            assert inside[5:] == plaintext + bytes(len(inside) - 5 - len(plaintext))
        else:
            assert inside[0] == 1
            assert inside[5:9] == b"\x28\xb5\x2f\xfd"  # zstd's magic number
    assert len(seen) == 6


def test_keyring_slots() -> None:
    document = load("keyring.json")
    master = MasterKey(bytes.fromhex(document["master"]))
    for vector in document["vectors"]:
        cost = keyring.Cost(vector["operations"], vector["memory_bytes"])
        sealed = bytes.fromhex(vector["sealed"])
        slot = KeyringSlot(vector["slot"], "label", sealed)
        assert keyring.unwrap(slot, vector["passphrase"]) == master
        salt, nonce = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])
        made = keyring._wrap_from_parts(master, vector["passphrase"], slot.slot, cost, salt, nonce)
        assert made == sealed


def test_signatures() -> None:
    document = load("signature.json")
    signer = Signer(keys_of(document))
    for vector in document["vectors"]:
        signature = signer.sign(vector["context"].encode(), vector["message"].encode())
        assert signature.hex() == vector["signature"]


@pytest.mark.parametrize("number", range(7))
def test_cutter(number: int) -> None:
    vector = load("cutter.json")["vectors"][number]
    length = vector["length"]
    if vector["label"] is None:
        data = bytes(length)
    else:
        data = hashlib.shake_128(vector["label"].encode()).digest(length)
    minimum, average, maximum = vector["sizes"] or (MINIMUM, AVERAGE, MAXIMUM)
    cutter = Cutter(vector["seed"], minimum, average, maximum)
    assert cutter.cut(memoryview(data), final=True) == vector["ends"]
