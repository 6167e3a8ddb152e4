"""How this computer stands with its repository. Pure, but for `ask`."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from obnam.browse.accepting import check_shown
from obnam.browse.listing import iso_time, local_time
from obnam.errors import DamagedGeneration
from obnam.history_errors import (
    HistoryBroken,
    ServerKeyChanged,
)
from obnam.model.figures import size_text
from obnam.repository.generations import Generations
from obnam.repository.proofs import Proof
from obnam.repository.quota import quota_warning
from obnam.repository.state import Loss
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import RepositoryDescription

CLOCKS_DIFFER_S = 60
"""From here on a difference between the clocks of client and server is worth mentioning."""


@frozen
class Standing:
    """What the server says of the client, and what the client's clock says (ns).

    ``problems``: why that is not what is remembered here. ``kept``: the newest receipt that this
    client was given. ``losses``: what the user accepted as lost, and was not shown since.
    """

    server: str
    description: RepositoryDescription
    now_ns: int
    problems: Sequence[str] = ()
    kept: Proof | None = None
    losses: Sequence[Loss] = ()

    @property
    def _ahead_s(self) -> int:
        return round((self.description.server_time_ns - self.now_ns) / 1e9)

    def warnings(self) -> list[str]:
        """What should not be so."""
        found = list(self.problems)
        damaged = self.description.damaged_chunk_count
        if damaged:
            found.append(
                f"{damaged} chunks are damaged on the server; `obnam backup` stores anew what is "
                f"still in your files, `obnam damage` names the files concerned"
            )
        near = quota_warning(self.description)
        if near is not None:
            found.append(near)
        if abs(self._ahead_s) > CLOCKS_DIFFER_S:
            found.append(f"the clock of the server differs from this one by {self._ahead_s} s")
        return found

    def to_json(self) -> dict[str, Any]:
        """For programs. Sizes in bytes."""
        d = self.description
        receipt = None if d.latest is None else d.latest.summary.receipt
        return {
            "server": self.server,
            "repository": d.repository,
            "client": d.client,
            "scopes": list(d.scopes),
            "used": d.used_bytes,
            "quota": d.quota_bytes,
            "generations": d.generation_count,
            "damaged_chunks": d.damaged_chunk_count,
            "latest": None if receipt is None else receipt.generation,
            "latest_received": None if receipt is None else iso_time(receipt.received_ns),
            "server_ahead_s": self._ahead_s,
            "server_key": None if d.server_key is None else d.server_key.hex(),
            "receipt": None if self.kept is None else receipt_to_json(self.kept),
            "lost": [
                {
                    "generation": loss.generation,
                    "generations": loss.count,
                    "accepted": iso_time(loss.accepted_ns),
                }
                for loss in self.losses
            ],
        }

    def lines(self) -> list[str]:
        """For people."""
        d = self.description
        lines = [
            f"server: {self.server}",
            f"repository: {d.repository}",
            f"client: {d.client}",
            f"may: {', '.join(d.scopes)}",
            f"used: {size_text(d.used_bytes)}",
        ]
        if d.quota_bytes is not None:
            lines.append(f"quota: {size_text(d.quota_bytes)}")
        lines.append(f"generations: {d.generation_count}")
        if d.latest is None:
            lines.append("latest: none; run `obnam backup`")
        else:
            receipt = d.latest.summary.receipt
            when = local_time(receipt.received_ns)
            lines.append(f"latest: {receipt.generation}  {when}")
        if d.server_key is not None:
            lines.append(f"server-key: {d.server_key.hex()}")
        if self.kept is not None:
            said = self.kept.statement
            when = local_time(said.received_ns)
            lines.append(f"receipt: {said.sequence}  {said.generation}  {when}")
        for loss in self.losses:
            when = local_time(loss.accepted_ns)
            lines.append(f"lost: {loss.count} up to {loss.generation}, accepted {when}")
        return lines


def receipt_to_json(proof: Proof) -> dict[str, Any]:
    """A receipt in words, and as a third party needs it."""
    said = proof.statement
    return {
        "generation": said.generation,
        "client": said.client,
        "sequence": said.sequence,
        "received": iso_time(said.received_ns),
        "received_ns": said.received_ns,
        "repository_id": said.repository_id.hex(),
        "manifest_id": said.manifest_id.hex(),
        "previous": said.previous.hex(),
        **proof.to_json(),
    }


async def ask(
    server: str, repository: IRepository, generations: Generations, now_ns: int
) -> Standing:
    """Ask the server, and hold what it says against what is remembered.

    Losses that the user accepted are in it once.
    """
    description = await repository.describe()
    history, client = generations.history, description.client
    problems = []
    try:
        problems += await check_shown(generations, description)
    except (DamagedGeneration, HistoryBroken, ServerKeyChanged) as error:
        problems.append(str(error))
    memory = await history.load()
    losses = [each for each in memory.losses if each.client == client and not each.told]
    if losses:
        await history.told(client)
    kept = memory.receipts.get(client)
    return Standing(server, description, now_ns, problems, kept, losses)
