"""Damage as it travels."""

import json
from typing import Any

import pytest

from obnam.model.ids import ChunkId, GenerationId
from obnam.wire.damage import (
    DAMAGE_GENERATIONS_MAX,
    DAMAGE_PAGE_MAX,
    DamagedChunk,
    DamagePage,
)
from obnam.wire.limits import JSON_BODY_MAX
from obnam.wire.messages import BadMessage

CHUNK = ChunkId(b"\x01" + bytes(range(32)))
GENERATIONS = tuple(GenerationId(f"{n:032x}") for n in range(DAMAGE_GENERATIONS_MAX))
LARGEST = DamagePage((DamagedChunk(CHUNK, GENERATIONS, 10**6),) * DAMAGE_PAGE_MAX, 2**62)


@pytest.mark.parametrize(
    "page",
    [
        DamagePage((), None),
        DamagePage((), 12),
        DamagePage((DamagedChunk(None, GENERATIONS[:1], 1),), None),
        LARGEST,
    ],
)
def test_there_and_back(page: DamagePage) -> None:
    text = json.dumps(page.to_json())
    assert len(text) < JSON_BODY_MAX
    assert DamagePage.from_json(json.loads(text)) == page


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "02" + "00" * 32),
        ("id", "zz"),
        ("id", 7),
        ("generations", []),
        ("generations", "x"),
        ("generations", ["x"]),
        ("generations", [7]),
        ("generations", [*GENERATIONS, GENERATIONS[0]]),
        ("generation_count", 0),
        ("generation_count", True),
    ],
)
def test_what_is_no_damaged_chunk(name: str, value: Any) -> None:
    document = {**DamagedChunk(CHUNK, GENERATIONS[:1], 1).to_json(), name: value}
    with pytest.raises(BadMessage):
        DamagePage.from_json({"chunks": [document], "next": None})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"chunks": [], "next": -1},
        {"chunks": {}, "next": None},
        {"chunks": [7], "next": None},
        {"chunks": [*LARGEST.to_json()["chunks"], LARGEST.chunks[0].to_json()], "next": None},
    ],
)
def test_what_is_no_page(document: Any) -> None:
    with pytest.raises(BadMessage):
        DamagePage.from_json(document)
