"""Whether receipts are signed, and in the order in which they can have been given."""

import json

import pytest
from attrs import evolve
from nacl.signing import SigningKey

from obnam.model.ids import ClientName
from obnam.repository.proofs import Proof, list_problem, order_problem
from tests.support.receipts import Notary


@pytest.fixture
def notary() -> Notary:
    """Five commits of two clients."""
    notary = Notary()
    for number, client in enumerate(["laptop", "pc", "laptop", "laptop", "pc"], 1):
        notary.commit(client, number)
    return notary


def test_signatures_hold(notary: Notary) -> None:
    for proof in notary.proofs():
        assert proof.holds()
        other = evolve(proof.statement, client=ClientName("other"))
        assert not evolve(proof, statement=other).holds()
        assert not evolve(proof, server_key=bytes(SigningKey(b"x" * 32).verify_key)).holds()


def test_a_proof_comes_back(notary: Notary) -> None:
    proof = notary.proofs()[0]
    value = json.loads(json.dumps(proof.to_json()))
    assert Proof.from_json(value) == proof
    assert Proof.from_json(value).holds()
    for name in value:
        with pytest.raises(ValueError, match=r"."):
            Proof.from_json({**value, name: value[name][2:]})


def test_the_order_that_was_given_is_fine(notary: Notary) -> None:
    proofs = notary.proofs()
    for later, proof in enumerate(proofs):
        for before in proofs[: later + 1]:
            assert order_problem(before, proof) is None
    assert order_problem(None, proofs[0]) is None


def test_orders_that_cannot_be(notary: Notary) -> None:
    copy = notary.copy()
    del copy.signed[3:]
    copy.commit("pc", 9)
    copy.commit("pc", 10)
    kept, other, follower = notary.proofs()[3], copy.proofs()[3], copy.proofs()[4]
    assert "two receipts number 4" in (order_problem(kept, other) or "")
    assert "5 does not follow receipt 4" in (order_problem(kept, follower) or "")
    assert "has number 3, though number 4" in (order_problem(kept, notary.proofs()[2]) or "")


def test_others_servers_and_repositories_do_not_compare(notary: Notary) -> None:
    proofs = notary.proofs()
    said = evolve(proofs[0].statement, repository_id=bytes(16))
    assert order_problem(proofs[3], evolve(proofs[0], statement=said)) is None
    assert order_problem(proofs[3], evolve(proofs[0], server_key=bytes(32))) is None


def test_good_lists(notary: Notary) -> None:
    kept, listed = notary.proofs()[3], notary.signed
    assert list_problem(notary.identity, kept, listed) is None
    assert list_problem(notary.identity, None, listed) is None
    assert list_problem(notary.identity, None, []) is None
    for removed in range(4):
        some = [each for number, each in enumerate(listed) if number != removed]
        assert list_problem(notary.identity, kept, some) is None


def test_commits_from_before_there_was_a_key(notary: Notary) -> None:
    old = [evolve(e, receipt=evolve(e.receipt, countersigned=None)) for e in notary.signed]
    assert list_problem(notary.identity, None, old) is None
    assert list_problem(notary.identity, None, old[:3] + notary.signed[3:]) is None


def test_reordered_lists(notary: Notary) -> None:
    """As they are, and with their numbers exchanged so that these grow."""
    first, second = notary.signed[1:3]
    swapped = [notary.signed[0], second, first, *notary.signed[3:]]
    assert "in another order" in (list_problem(notary.identity, None, swapped) or "")
    renumbered = [
        notary.signed[0],
        evolve(second, receipt=evolve(second.receipt, sequence=2)),
        evolve(first, receipt=evolve(first.receipt, sequence=3)),
        *notary.signed[3:],
    ]
    assert "does not follow" in (list_problem(notary.identity, None, renumbered) or "")


def test_one_in_the_place_of_another(notary: Notary) -> None:
    """By a server that signs it anew: it does not fit the next one, or what is kept."""
    proof = notary.proofs()[3]
    other = notary.sign(evolve(proof.statement, received_ns=5))
    listed = [*notary.signed[:3], other, notary.signed[4]]
    assert "5 does not follow receipt 4" in (list_problem(notary.identity, None, listed) or "")
    without_next = listed[:4]
    assert list_problem(notary.identity, None, without_next) is None
    problem = list_problem(notary.identity, proof, without_next)
    assert "two receipts number 4" in (problem or "")


def test_what_follows_another_than_the_one_that_is_kept(notary: Notary) -> None:
    """The other one is left out of the list, as if somebody had removed it."""
    copy = notary.copy()
    del copy.signed[3:]
    copy.commit("pc", 9)
    copy.commit("pc", 10)
    listed = [*copy.signed[:3], copy.signed[4]]
    assert list_problem(notary.identity, None, listed) is None
    problem = list_problem(notary.identity, notary.proofs()[3], listed)
    assert "5 does not follow receipt 4" in (problem or "")


def test_one_number_twice(notary: Notary) -> None:
    old = [evolve(e, receipt=evolve(e.receipt, countersigned=None)) for e in notary.signed[:2]]
    listed = [old[0], evolve(old[1], receipt=evolve(old[1].receipt, sequence=1))]
    assert "in another order" in (list_problem(notary.identity, None, listed) or "")


def test_an_unsigned_one_behind_signed_ones(notary: Notary) -> None:
    last = notary.signed[-1]
    listed = [*notary.signed[:-1], evolve(last, receipt=evolve(last.receipt, countersigned=None))]
    assert "is not signed" in (list_problem(notary.identity, None, listed) or "")


def test_the_last_signature_stands_for_all(notary: Notary) -> None:
    last = notary.signed[-1]
    signed = last.receipt.countersigned
    assert signed is not None
    wrong = evolve(last.receipt, countersigned=evolve(signed, signature=bytes(64)))
    listed = [*notary.signed[:-1], evolve(last, receipt=wrong)]
    kept = notary.proofs()[0]
    assert "signature on receipt 5 is wrong" in (list_problem(notary.identity, kept, listed) or "")


def test_receipts_by_an_earlier_key_of_the_server(notary: Notary) -> None:
    """After `obnam accept-server`: nothing has been signed by the new key yet."""
    new = evolve(notary.identity, key=bytes(SigningKey(b"x" * 32).verify_key))
    assert list_problem(new, notary.proofs()[3], notary.signed) is None
    assert list_problem(new, None, notary.signed) is None
