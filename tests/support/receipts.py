"""Receipts as a server would sign them, for tests of who reads them."""

from collections.abc import Sequence

from attrs import define, evolve, field
from nacl.signing import SigningKey

from obnam.model.ids import ClientName, RepositoryName, parse_chunk_id, parse_generation_id
from obnam.repository.proofs import Proof, ServerIdentity
from obnam.wire.messages import Countersignature, GenerationSummary, Receipt
from obnam.wire.receipts import NO_RECEIPT, Statement

SECOND = 1_000_000_000
START_NS = 1_800_000_000 * SECOND
ID = bytes(range(16))


@define
class Notary:
    """A server that signs. Each generation has a number of its own, to be known by."""

    key: SigningKey = field(factory=lambda: SigningKey(bytes(32)))
    signed: list[GenerationSummary] = field(factory=list)

    @property
    def identity(self) -> ServerIdentity:
        """Who it is."""
        return ServerIdentity(bytes(self.key.verify_key), ID, RepositoryName("home"))

    def commit(self, client: str, number: int) -> GenerationSummary:
        """Accept a generation."""
        last = self.signed[-1] if self.signed else None
        statement = None if last is None else last.receipt.statement(ID, last.client)
        summary = self.sign(
            Statement(
                ID,
                1 if last is None else last.receipt.sequence + 1,
                START_NS + number * SECOND,
                parse_generation_id(f"{number:032x}"),
                ClientName(client),
                parse_chunk_id(b"\x01" + number.to_bytes(32, "big")),
                NO_RECEIPT if statement is None else statement.hash(),
            )
        )
        self.signed.append(summary)
        return summary

    def sign(self, said: Statement) -> GenerationSummary:
        """Sign whatever it is."""
        signature = self.key.sign(said.encode()).signature
        signed = Countersignature(said.previous, said.manifest_id, signature)
        receipt = Receipt(said.generation, said.sequence, said.received_ns, signed)
        return GenerationSummary(receipt, said.client, None, False, 0)

    def copy(self) -> "Notary":
        """A copy of its disk."""
        return evolve(self, signed=list(self.signed))

    def proofs(self) -> Sequence[Proof]:
        """All that it has signed."""
        found = [self.identity.proof_of(each.receipt, each.client) for each in self.signed]
        return [proof for proof in found if proof is not None]
