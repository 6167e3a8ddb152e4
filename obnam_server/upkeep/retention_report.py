"""A plan of retention for people, line by line, and as JSON. Pure.

What ``obnam-server retention show`` and ``retention run --dry-run`` print.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from obnam.model.entry import printable
from obnam.model.figures import size_text
from obnam.model.ids import GenerationId
from obnam_server.upkeep.retention import Decision, Fate, Plan
from obnam_server.upkeep.retention_time import shown

ID_DIGITS = 12
"""Digits of an id that lines show: enough for a prefix that is unique."""


@frozen
class RetentionReport:
    """A plan, and what deleting would free.

    ``frees_bytes``: for each generation, as far as it was counted, the sealed bytes that nothing
    else needs; ``together_bytes``: the same for all that goes or is expunged now, taken together.
    """

    plan: Plan
    frees_bytes: Mapping[GenerationId, int] = field(factory=dict)
    together_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON; times are ns since the epoch."""
        return {
            "clock_ns": self.plan.time.seen_ns,
            "time_ns": self.plan.time.time_ns,
            "halted": self.plan.halted,
            "generations": [self._to_json(each) for each in self.plan.decisions],
            "frees_together_bytes": self.together_bytes,
        }

    def _to_json(self, decision: Decision) -> dict[str, Any]:
        candidate = decision.candidate
        return {
            "generation": candidate.generation,
            "client": candidate.client,
            "sequence": candidate.sequence,
            "received_ns": candidate.received_ns,
            "partial": candidate.partial,
            "pinned": candidate.pinned,
            "trashed_ns": candidate.trashed_ns,
            "fate": decision.fate.value,
            "rules": list(decision.rules),
            "at_ns": decision.at_ns,
            "frees_bytes": self.frees_bytes.get(candidate.generation),
        }

    def lines(self) -> list[str]:
        """For people: each client's generations, oldest first, then what it comes to."""
        by_client: dict[str, list[str]] = {}
        for decision in self.plan.decisions:
            line = f"  {self._line(decision)}"
            by_client.setdefault(decision.candidate.client, []).append(line)
        lines = []
        for client in sorted(by_client):
            lines += [f"client {client}", *by_client[client]]
        if self.plan.halted is not None:
            lines.append(f"nothing is deleted now: {self.plan.halted}")
        return [*lines, self._summary()]

    def _line(self, decision: Decision) -> str:
        candidate = decision.candidate
        line = f"{shown(candidate.received_ns)} {candidate.generation[:ID_DIGITS]}"
        if candidate.partial:
            line += " (partial)"
        line += f" {_fate(decision)}"
        frees = self.frees_bytes.get(candidate.generation)
        return line if frees is None else f"{line}; frees {size_text(frees)}"

    def _summary(self) -> str:
        counts = {fate: len(self.plan.with_fate(fate)) for fate in Fate}
        line = (
            f"{counts[Fate.KEPT]} kept, {counts[Fate.GOES]} go now, "
            f"{counts[Fate.TRASHED]} in the trash, {counts[Fate.EXPUNGED]} expunged now"
        )
        if self.together_bytes is None:
            return line
        return f"{line}; all that goes frees {size_text(self.together_bytes)}"


def _fate(decision: Decision) -> str:
    # The reason of a pin or a hold is anybody's text.
    rules = printable(", ".join(decision.rules).encode("utf-8", "surrogateescape"))
    end = None if decision.at_ns is None else shown(decision.at_ns)
    if decision.fate is Fate.KEPT:
        return f"kept ({rules})" if end is None else f"kept ({rules}) until {end} at least"
    if decision.fate is Fate.TRASHED:
        return f"in the trash ({rules})" if end is None else f"in the trash until {end} at least"
    return "goes now" if decision.fate is Fate.GOES else "expunged now"
