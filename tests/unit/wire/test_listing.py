"""Lines of a list of generations: what was decided is said, or left out by an older end."""

import json
from typing import Any

import pytest

from obnam.model.ids import ClientName, GenerationId
from obnam.wire.limits import PIN_REASON_MAX
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import BadMessage, GenerationSummary, Receipt

RECEIPT = Receipt(GenerationId("ab" * 16), 7, 1_700_000_000_000_000_000)
SUMMARY = GenerationSummary(RECEIPT, ClientName("laptop"), None, False, 12345)
LISTED = [
    ListedGeneration(SUMMARY),
    ListedGeneration(SUMMARY, pinned="before the move: ü"),
    ListedGeneration(SUMMARY, pinned=""),
    ListedGeneration(SUMMARY, trashed_ns=0),
    ListedGeneration(SUMMARY, trashed_ns=5, until_ns=2**63 - 1),
]


def through_json(listed: ListedGeneration) -> Any:
    return json.loads(json.dumps(listed.to_json()))


@pytest.mark.parametrize("listed", LISTED)
def test_roundtrip(listed: ListedGeneration) -> None:
    document = {**through_json(listed), "said by a newer end": 1}
    assert ListedGeneration.from_json(document) == listed


def test_every_line_says_what_was_decided() -> None:
    assert set(through_json(LISTED[0])) - set(SUMMARY.to_json()) == {
        "pinned", "trashed_ns", "until_ns",
    }  # fmt: skip


def test_an_older_end_says_nothing_of_it() -> None:
    assert ListedGeneration.from_json(SUMMARY.to_json()) == ListedGeneration(SUMMARY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pinned", 7),
        ("pinned", "x" * (PIN_REASON_MAX + 1)),
        ("trashed_ns", True),
        ("trashed_ns", -1),
        ("trashed_ns", "5"),
        ("until_ns", 2**63),
        ("sequence", 0),
    ],
)
def test_refusals(name: str, value: object) -> None:
    with pytest.raises(BadMessage, match=repr(name)):
        ListedGeneration.from_json({**through_json(LISTED[-1]), name: value})
    for document in ("x", None, 7):
        with pytest.raises(BadMessage):
            ListedGeneration.from_json(document)
