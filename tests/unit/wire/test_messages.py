"""Messages: they come back from JSON as they were, and what is no message is refused."""

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    RepositoryName,
)
from obnam.wire.limits import KEYRING_SLOT_MAX, KEYRING_SLOTS_MAX, MANIFEST_MAX
from obnam.wire.messages import (
    SCOPES,
    BadMessage,
    Commit,
    CommittedGeneration,
    Countersignature,
    EnrolmentAnswer,
    EnrolmentRequest,
    GenerationSummary,
    Keyring,
    KeyringSlot,
    Receipt,
    RepositoryDescription,
    SessionRequest,
    TokenRequest,
)

GENERATION, OTHER = GenerationId("ab" * 16), GenerationId("01" * 16)
MANIFEST_ID = ChunkId(b"\x01" + bytes(range(32)))
RECEIPT = Receipt(GENERATION, 7, 1_700_000_000_000_000_000)
SUMMARY = GenerationSummary(RECEIPT, ClientName("laptop"), OTHER, False, 12345)
COMMITTED = CommittedGeneration(SUMMARY, MANIFEST_ID, b"\x00sealed\xff")
SLOT = KeyringSlot("cd" * 16, "laptop ä", b"\x01wrapped")
DESCRIPTION = RepositoryDescription(
    repository=RepositoryName("home"),
    client=ClientName("laptop"),
    scopes=("backup", "restore"),
    server_time_ns=5,
    used_bytes=10**12,
    quota_bytes=None,
    generation_count=3,
    damaged_chunk_count=0,
    latest=COMMITTED,
)
COMMIT = Commit(GENERATION, None, SetSum(2, 99), MANIFEST_ID, b"sealed", partial=True)

MESSAGES: list[Any] = [
    SessionRequest(None),
    SessionRequest(GENERATION),
    COMMIT,
    RECEIPT,
    SUMMARY,
    COMMITTED,
    DESCRIPTION,
    SLOT,
    EnrolmentRequest("one-time-code", "0f" * 32),
    TokenRequest("0f" * 32),
    EnrolmentAnswer(RepositoryName("home"), ClientName("laptop")),
]


SIGNED = Receipt(
    GENERATION, 7, 1_700_000_000, Countersignature(bytes(range(32)), MANIFEST_ID, b"s" * 64)
)
SIGNED_SUMMARY = GenerationSummary(SIGNED, ClientName("laptop"), None, False, 1)
NEWER_MESSAGES: list[Any] = [
    SIGNED,
    SIGNED_SUMMARY,
    CommittedGeneration(SIGNED_SUMMARY, MANIFEST_ID, b"sealed"),
    evolve(
        DESCRIPTION,
        repository_id=bytes(range(16)),
        server_key=b"k" * 32,
        newest=SIGNED_SUMMARY,
        has_chunks=False,
    ),
    EnrolmentAnswer(RepositoryName("home"), ClientName("laptop"), b"k" * 32),
]
NEWER = ("countersigned", "repository_id", "server_key", "newest", "has_chunks")


def through_json(message: Any) -> Any:
    return json.loads(json.dumps(message.to_json()))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_roundtrip(message: Any) -> None:
    assert type(message).from_json(through_json(message)) == message


def test_a_keyring_comes_back_with_its_tag() -> None:
    keyring = Keyring((SLOT, SLOT), '"tag"')
    assert Keyring.from_json(through_json(keyring), '"tag"') == keyring
    assert "etag" not in through_json(keyring)


@pytest.mark.parametrize("message", NEWER_MESSAGES, ids=lambda message: type(message).__name__)
def test_members_that_older_ends_do_not_send(message: Any) -> None:
    """They come back; without them it is a message, too; and with nonsense in them it is none."""
    document = through_json(message)
    assert type(message).from_json(document) == message
    there = [name for name in NEWER if name in document]
    assert there
    for name in there:
        less = {key: value for key, value in document.items() if key != name}
        assert name not in through_json(type(message).from_json(less))
        every: list[Any] = [None, 1, "", "0g" * 32, "AB" * 32, [], {}, {"signature": "00"}]
        for nonsense in every:
            with pytest.raises(BadMessage):
                type(message).from_json({**document, name: nonsense})


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**264 - 1), st.binary(max_size=100))
def test_commits_come_back(count: int, xor: int, manifest: bytes) -> None:
    commit = Commit(GENERATION, OTHER, SetSum(count, xor), MANIFEST_ID, manifest)
    assert Commit.from_json(through_json(commit)) == commit


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_unknown_members_are_ignored(message: Any) -> None:
    document = {**through_json(message), "said by a newer end": [1, 2]}
    assert type(message).from_json(document) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_member_is_needed(message: Any) -> None:
    document = through_json(message)
    for name in document:
        less = {key: value for key, value in document.items() if key != name}
        with pytest.raises(BadMessage, match=repr(name)):
            type(message).from_json(less)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(MESSAGES), json_values, st.data())
def test_a_member_of_any_value_is_taken_or_refused(
    message: Any, value: object, data: st.DataObject
) -> None:
    """Nothing but `BadMessage` is raised, and what is taken comes back the same."""
    document = through_json(message)
    name = data.draw(st.sampled_from(sorted(document)))
    try:
        taken = type(message).from_json({**document, name: value})
    except BadMessage:
        return
    assert type(message).from_json(through_json(taken)) == taken


@given(json_values)
def test_any_other_document_is_refused(document: object) -> None:
    for kind in {type(message) for message in MESSAGES}:
        with pytest.raises(BadMessage):
            kind.from_json(document)
    with pytest.raises(BadMessage):
        Keyring.from_json(document, "")


REFUSED: list[tuple[Any, str, object]] = [
    (RECEIPT, "generation", "AB" * 16),
    (RECEIPT, "generation", "ab" * 16 + "\n"),
    (RECEIPT, "sequence", 0),
    (RECEIPT, "sequence", True),
    (RECEIPT, "sequence", 1.0),
    (RECEIPT, "sequence", 2**63),
    (RECEIPT, "received_ns", -1),
    (SUMMARY, "client", "../x"),
    (SUMMARY, "client", "Laptop"),
    (SUMMARY, "partial", 1),
    (SUMMARY, "previous", ""),
    (COMMIT, "manifest_id", "02" + "00" * 32),
    (COMMIT, "manifest_id", "01" * 32),
    (COMMIT, "manifest_id", "zz"),
    (COMMIT, "xor", "0" * 65),
    (COMMIT, "xor", "-" + "0" * 65),
    (COMMIT, "count", -1),
    (COMMIT, "manifest", "not base64!"),
    (COMMIT, "manifest", "äöü="),
    (COMMIT, "manifest", "AAAA" * (MANIFEST_MAX // 3 + 2)),
    (SLOT, "label", "x" * 129),
    (SLOT, "sealed", "AAAA" * (KEYRING_SLOT_MAX // 3 + 1)),
    (SLOT, "slot", "short"),
    (DESCRIPTION, "scopes", ["backup", "root"]),
    (DESCRIPTION, "scopes", "backup"),
    (DESCRIPTION, "scopes", ["backup"] * 17),
    (DESCRIPTION, "scopes", [["backup"]]),
    (DESCRIPTION, "quota_bytes", -1),
    (evolve(DESCRIPTION, has_chunks=True), "has_chunks", 0),
    (DESCRIPTION, "latest", {}),
    (EnrolmentRequest("c", "0f" * 32), "token_sha256", "0F" * 32),
    (TokenRequest("0f" * 32), "token_sha256", "0f" * 31),
    (EnrolmentRequest("c", "0f" * 32), "code", "x" * 129),
]


@pytest.mark.parametrize(("message", "name", "value"), REFUSED)
def test_refusals(message: Any, name: str, value: object) -> None:
    document = through_json(message)
    assert name in document
    with pytest.raises(BadMessage):
        type(message).from_json({**document, name: value})


def test_lengths_up_to_the_limit_are_fine() -> None:
    for size in (0, KEYRING_SLOT_MAX - 1, KEYRING_SLOT_MAX):
        slot = KeyringSlot(SLOT.slot, "x" * 128, bytes(size))
        assert KeyringSlot.from_json(through_json(slot)) == slot
    slots = Keyring((SLOT,) * KEYRING_SLOTS_MAX, "")
    assert Keyring.from_json(through_json(slots), "") == slots
    with pytest.raises(BadMessage, match="at most"):
        Keyring.from_json(through_json(Keyring((*slots.slots, SLOT), "")), "")


def test_scopes_are_these() -> None:
    assert SCOPES == ("backup", "restore", "manage")
