"""A line of a list of generations: the generation, and what was decided about it.

Apart from `obnam.wire.messages`, whose summaries stay what they were at the commit.
"""

from attrs import frozen

from obnam.model.ids import GenerationId
from obnam.wire.limits import PIN_REASON_MAX
from obnam.wire.members import Json, number, text
from obnam.wire.messages import GenerationSummary


@frozen
class ListedGeneration:
    """One line of ``GET /v1/generations``.

    ``pinned``: why it is kept; ``None``: it is not pinned. ``trashed_ns``: since when it is in the
    trash; ``None``: it is not. ``until_ns``: until when, at least, it can be had back from there;
    ``None``: the server does not say. Older servers say none of them, and have no trash.
    """

    summary: GenerationSummary
    pinned: str | None = None
    trashed_ns: int | None = None
    until_ns: int | None = None

    @property
    def generation(self) -> GenerationId:
        """Its id."""
        return self.summary.receipt.generation

    def to_json(self) -> Json:
        """As JSON."""
        return {
            **self.summary.to_json(),
            "pinned": self.pinned,
            "trashed_ns": self.trashed_ns,
            "until_ns": self.until_ns,
        }

    @classmethod
    def from_json(cls, data: object) -> "ListedGeneration":
        """From JSON."""
        summary = GenerationSummary.from_json(data)
        return cls(
            summary,
            pinned=text(data, "pinned", PIN_REASON_MAX) if _has(data, "pinned") else None,
            trashed_ns=number(data, "trashed_ns") if _has(data, "trashed_ns") else None,
            until_ns=number(data, "until_ns") if _has(data, "until_ns") else None,
        )


def _has(data: object, name: str) -> bool:
    return isinstance(data, dict) and data.get(name) is not None
