"""How this computer stands with its repository. Pure."""

from typing import Any

from attrs import frozen

from obnam.browse.listing import iso_time, local_time
from obnam.repository.quota import quota_warning
from obnam.wire.messages import RepositoryDescription

CLOCKS_DIFFER_S = 60
"""From here on a difference between the clocks of client and server is worth mentioning."""


@frozen
class Standing:
    """What the server says of the client, and what the client's clock says (ns)."""

    server: str
    description: RepositoryDescription
    now_ns: int

    @property
    def _ahead_s(self) -> int:
        return round((self.description.server_time_ns - self.now_ns) / 1e9)

    def warnings(self) -> list[str]:
        """What should not be so."""
        found = []
        damaged = self.description.damaged_chunk_count
        if damaged:
            found.append(
                f"{damaged} chunks are damaged on the server; `obnam backup --full` stores anew "
                f"those that are still in your files"
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
        }

    def lines(self) -> list[str]:
        """For people."""
        d = self.description
        lines = [
            f"server: {self.server}",
            f"repository: {d.repository}",
            f"client: {d.client}",
            f"may: {', '.join(d.scopes)}",
            f"used: {size(d.used_bytes)}",
        ]
        if d.quota_bytes is not None:
            lines.append(f"quota: {size(d.quota_bytes)}")
        lines.append(f"generations: {d.generation_count}")
        if d.latest is None:
            lines.append("latest: none; run `obnam backup`")
        else:
            receipt = d.latest.summary.receipt
            when = local_time(receipt.received_ns)
            lines.append(f"latest: {receipt.generation}  {when}")
        return lines


def size(size_bytes: int) -> str:
    """A number of bytes for people: ``1.3 GB``."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
