"""Receipts that a server has signed: what they prove, and whether they are in order.

All but `Proof.holds` is pure; that imports libsodium. See ``docs/format/receipt.md``.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from attrs import frozen

from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.messages import GenerationSummary, Receipt
from obnam.wire.receipts import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Statement


@frozen
class ServerIdentity:
    """Who the server is: its Ed25519 key, and which repository of it this is."""

    key: bytes
    repository_id: bytes
    repository: RepositoryName

    def proof_of(self, receipt: Receipt, client: ClientName) -> "Proof | None":
        """A receipt as a proof, not checked; ``None``: it is not signed."""
        statement = receipt.statement(self.repository_id, client)
        if statement is None or receipt.countersigned is None:
            return None
        return Proof(self.key, statement, receipt.countersigned.signature)


@frozen
class Proof:
    """A statement, and the server's signature on it."""

    server_key: bytes
    statement: Statement
    signature: bytes

    def holds(self) -> bool:
        """Whether the signature was made by the server's key."""
        from obnam.crypto.signing import is_signed_by  # slow to import

        return is_signed_by(self.server_key, self.statement.encode(), self.signature)

    def is_of_the_same(self, other: "Proof") -> bool:
        """Whether both are of one repository of one server, so that their numbers compare."""
        return (self.server_key, self.statement.repository_id) == (
            other.server_key,
            other.statement.repository_id,
        )

    def to_json(self) -> dict[str, Any]:
        """What a third party needs, and no more. Bytes are hexadecimal digits."""
        return {
            "server_key": self.server_key.hex(),
            "signed": self.statement.encode().hex(),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Proof":
        """The reverse. ``ValueError``, ``KeyError``, ``TypeError``."""
        key, signature = bytes.fromhex(value["server_key"]), bytes.fromhex(value["signature"])
        if (len(key), len(signature)) != (PUBLIC_KEY_BYTES, SIGNATURE_BYTES):
            raise ValueError("not a key, or not a signature")
        return cls(key, Statement.decode(bytes.fromhex(value["signed"])), signature)


def order_problem(before: Proof | None, after: Proof) -> str | None:
    """Why a server cannot have given the receipt ``after`` later than ``before``; ``None``: it can.

    Receipts of another server, or another repository, cannot be compared.
    """
    if before is None or not before.is_of_the_same(after):
        return None
    old, new = before.statement, after.statement
    if new.sequence == old.sequence and new != old:
        return f"there are two receipts number {old.sequence}: {_named(old)}, and {_named(new)}"
    if new.sequence < old.sequence:
        return (
            f"the receipt for {_named(new)} has number {new.sequence}, "
            f"though number {old.sequence} was given before it"
        )
    if new.sequence == old.sequence + 1 and new.previous != old.hash():
        return f"receipt {new.sequence} does not follow receipt {old.sequence}, {_named(old)}"
    return None


def list_problem(
    server: ServerIdentity, kept: Proof | None, listed: Sequence[GenerationSummary]
) -> str | None:
    """Why the receipts in a list of generations cannot be right; ``None``: they can.

    ``kept`` is the newest that was given to us. Receipts that follow each other by number must do
    so by hash; so the signature on the last one stands for all of an unbroken row. Generations may
    be left out: an administrator, or the server's own rules, may have removed them.
    """
    proofs = [server.proof_of(each.receipt, each.client) for each in listed]
    for (one, before), (other, after) in pairwise(zip(listed, proofs, strict=True)):
        number = other.receipt.sequence
        if number <= one.receipt.sequence:
            return f"{other.receipt.generation} is listed in another order than it was received"
        if before is not None and after is None:
            return f"the receipt of {other.receipt.generation} is not signed"
        if before is not None and after is not None:
            problem = order_problem(before, after)
            if problem is not None:
                return problem
    if kept is None or kept.server_key != server.key:
        # What there is may have been signed by a key that the server had before.
        return None
    for proof in proofs:
        # Older ones were given before it, and may be shown.
        if proof is not None and proof.statement.sequence >= kept.statement.sequence:
            problem = order_problem(kept, proof)
            if problem is not None:
                return problem
    if proofs and proofs[-1] is not None and not proofs[-1].holds():
        return f"the signature on receipt {proofs[-1].statement.sequence} is wrong"
    return None


def _named(statement: Statement) -> str:
    return f"generation {statement.generation} of {statement.client}"
