"""The bytes that servers sign."""

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.signing import is_signed_by
from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.receipts import NO_RECEIPT, Countersignature, Receipt, Statement

VECTORS: Any = json.loads(
    (Path(__file__).parents[2] / "vectors" / "receipt.json").read_text("utf-8")
)
STATEMENT = Statement(
    bytes(range(16)),
    7,
    1_800_000_000_000_000_000,
    GenerationId("ab" * 16),
    ClientName("laptop"),
    ChunkId(b"\x01" + bytes(32)),
    NO_RECEIPT,
)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["sequence"])
def test_known_answers(vector: Any) -> None:
    statement = Statement(
        bytes.fromhex(VECTORS["repository_id"]),
        vector["sequence"],
        vector["received_ns"],
        GenerationId(vector["generation"]),
        ClientName(vector["client"]),
        ChunkId(bytes.fromhex(vector["manifest_id"])),
        bytes.fromhex(vector["previous"]),
    )
    signed, signature = bytes.fromhex(vector["signed"]), bytes.fromhex(vector["signature"])
    assert statement.encode() == signed
    assert Statement.decode(signed) == statement
    assert statement.hash().hex() == vector["hash"]
    key = bytes.fromhex(VECTORS["server_key"])
    assert is_signed_by(key, signed, signature)
    assert not is_signed_by(key, signed + b"x", signature)
    assert not is_signed_by(key, signed, signature[:-1])
    assert not is_signed_by(bytes(31) + b"\x01", signed, signature)


def test_the_vectors_are_one_chain() -> None:
    one, two, three = VECTORS["vectors"]
    assert [two["previous"], three["previous"]] == [one["hash"], two["hash"]]
    assert one["previous"] == NO_RECEIPT.hex()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        STATEMENT.encode()[:-1],
        STATEMENT.encode() + b"x",
        b"O" + STATEMENT.encode()[1:],
        STATEMENT.encode()[:-6] + b"LAPTOP",
        STATEMENT.encode()[:64] + b"\x02" + STATEMENT.encode()[65:],
        evolve(STATEMENT, client=ClientName("x" * 64)).encode(),
    ],
    ids=["empty", "short", "long", "line", "name", "manifest-id", "long-name"],
)
def test_what_is_no_statement(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Statement.decode(data)


@given(st.binary(max_size=250))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Statement.decode(data)


def test_every_field_is_signed() -> None:
    others = [
        evolve(STATEMENT, repository_id=bytes(16)),
        evolve(STATEMENT, sequence=8),
        evolve(STATEMENT, received_ns=1),
        evolve(STATEMENT, generation=GenerationId("ac" * 16)),
        evolve(STATEMENT, client=ClientName("laptop2")),
        evolve(STATEMENT, manifest_id=ChunkId(b"\x01" + bytes(31) + b"\x01")),
        evolve(STATEMENT, previous=bytes(31) + b"\x01"),
    ]
    assert len({each.hash() for each in [STATEMENT, *others]}) == len(others) + 1
    for short in (evolve(STATEMENT, repository_id=b"x"), evolve(STATEMENT, previous=b"x")):
        with pytest.raises(ValueError, match="not the id"):
            short.encode()


def test_a_receipt_says_what_is_signed() -> None:
    signed = Countersignature(STATEMENT.previous, STATEMENT.manifest_id, bytes(64))
    receipt = Receipt(STATEMENT.generation, 7, STATEMENT.received_ns, signed)
    assert receipt.statement(STATEMENT.repository_id, STATEMENT.client) == STATEMENT
    unsigned = evolve(receipt, countersigned=None)
    assert unsigned.statement(STATEMENT.repository_id, STATEMENT.client) is None
    assert "countersigned" not in unsigned.to_json()
    assert Receipt.from_json(json.loads(json.dumps(receipt.to_json()))) == receipt
