"""What is said of a server whose history is not what was seen, by the receipts that it signed."""

import pytest
from attrs import evolve

from obnam.history_errors import (
    HistoryBroken,
    ServerForked,
    ServerRolledBack,
)
from obnam.repository.history import judge
from tests.support.receipts import Notary

BROKEN = HistoryBroken("laptop", "it is older")


@pytest.fixture
def notary() -> Notary:
    """Five commits; the laptop's newest receipt has number 4."""
    notary = Notary()
    for number, client in enumerate(["laptop", "pc", "laptop", "laptop", "pc"], 1):
        notary.commit(client, number)
    return notary


def judged(notary: Notary, shown: Notary, gone: int) -> HistoryBroken:
    """What the laptop says when it was given receipt 4, and is shown another history."""
    return judge(BROKEN, notary.identity, notary.proofs()[3], gone, shown.signed)


def test_restored_from_an_old_copy(notary: Notary) -> None:
    copy = notary.copy()
    del copy.signed[2:]
    found = judged(notary, copy, gone=2)
    assert isinstance(found, ServerRolledBack)
    assert str(found) == (
        "the server does not show the whole history of client laptop: its copy of repository "
        "home is older than 2027-01-15 08:00:04 UTC: it was restored from a copy of "
        "2027-01-15 08:00:02 UTC; 2 generations of laptop are gone. It may have been restored from "
        "an old copy, or it lies. Ask its administrator, then say: obnam accept-history"
    )


def test_restored_from_before_the_first_backup(notary: Notary) -> None:
    found = judged(notary, Notary(), gone=3)
    assert isinstance(found, ServerRolledBack)
    assert "from a copy of the time before the first backup; 3 generations" in str(found)


def test_an_old_copy_that_went_on_a_little(notary: Notary) -> None:
    """Its newest receipt has a number below ours, and a time behind it."""
    copy = notary.copy()
    del copy.signed[1:]
    copy.commit("pc", 9)
    found = judged(notary, copy, gone=1)
    assert isinstance(found, ServerRolledBack)
    assert "copy of 2027-01-15 08:00:01 UTC, and 1 generation came to it since; 1 gen" in str(found)


@pytest.mark.parametrize("kept", [1, 2], ids=["the-number-before-ours", "our-number"])
@pytest.mark.parametrize("gone", [2, 0, -1])
def test_an_old_copy_that_went_on(notary: Notary, kept: int, gone: int) -> None:
    """Two receipts with one number: that is a proof, whatever the client's own chain looks like."""
    copy = notary.copy()
    del copy.signed[kept:]
    while len(copy.signed) < 2 + kept:
        copy.commit("pc", 10 + len(copy.signed))
    found = judged(notary, copy, gone)
    assert isinstance(found, ServerForked)
    word = "receipt 4 does not follow receipt 3" if kept == 1 else "two receipts number 4"
    assert word in str(found)
    assert "or it lies; `obnam receipt` shows the proof" in str(found)


def test_a_forged_fork_is_no_proof(notary: Notary) -> None:
    """Whoever stands between cannot make the server look like one that forked."""
    other = Notary(key=evolve(notary).key)
    for number in range(11, 15):
        other.commit("pc", number)
    unsigned = [
        evolve(e, receipt=evolve(e.receipt, countersigned=evolve(s, signature=bytes(64))))
        for e in other.signed
        if (s := e.receipt.countersigned) is not None
    ]
    assert judge(BROKEN, notary.identity, notary.proofs()[3], 0, unsigned) is BROKEN


def test_what_is_listed_and_not_shown_is_hidden(notary: Notary) -> None:
    found = judged(notary, notary, gone=1)
    assert type(found) is HistoryBroken
    assert "is in its list, and yet it is not shown as the newest" in str(found)


def test_what_is_shown_as_the_newest_is_not_hidden(notary: Notary) -> None:
    """Something else is wrong then."""
    assert judged(notary, notary, gone=0) is BROKEN


def test_a_receipt_with_our_number_that_is_not_signed(notary: Notary) -> None:
    """The server's copy is no older than ours, by its numbers."""
    copy = notary.copy()
    last = copy.signed[3]
    copy.signed[3:] = [evolve(last, receipt=evolve(last.receipt, countersigned=None))]
    assert judged(notary, copy, gone=1) is BROKEN


def test_removed_and_not_rolled_back(notary: Notary) -> None:
    """Numbers went on: somebody removed the newest, which no rule does."""
    some = notary.copy()
    del some.signed[3]
    assert judged(notary, some, gone=1) is BROKEN


def test_manifests_tell_enough_when_they_fork(notary: Notary) -> None:
    """Two generations with one number in the client's own chain, and receipts that fit."""
    copy = notary.copy()
    del copy.signed[2:]
    assert judged(notary, copy, gone=0) is BROKEN
