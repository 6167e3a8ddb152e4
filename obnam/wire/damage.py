"""What is damaged on the server, as both ends say it. See ``docs/protocol.md``."""

from attrs import frozen

from obnam.model.ids import ChunkId, GenerationId, parse_generation_id
from obnam.wire.members import BadMessage, Json, chunk_id_of_hex, member, number, optional

DAMAGE_PAGE_MAX = 1000
"""Chunks in one answer of ``GET /v1/damage``; the next page is asked for."""

DAMAGE_GENERATIONS_MAX = 64
"""Generations that are named for one chunk: the newest that need it."""


@frozen
class DamagedChunk:
    """A chunk that is damaged or lost, and the generations that need it, newest first.

    ``chunk_id`` ``None``: the server has lost its name, too. ``generation_count`` may be more
    than are named.
    """

    chunk_id: ChunkId | None
    generations: tuple[GenerationId, ...]
    generation_count: int

    def to_json(self) -> Json:
        """As JSON."""
        return {
            "id": None if self.chunk_id is None else self.chunk_id.hex(),
            "generations": list(self.generations),
            "generation_count": self.generation_count,
        }

    @classmethod
    def from_json(cls, data: object) -> "DamagedChunk":
        """From JSON."""
        named = member(data, "generations")
        if not isinstance(named, list) or not 1 <= len(named) <= DAMAGE_GENERATIONS_MAX:
            raise BadMessage(f"'generations' must be a list of 1 to {DAMAGE_GENERATIONS_MAX}")
        try:
            generations = tuple(map(parse_generation_id, named))
        except (TypeError, ValueError) as error:
            raise BadMessage(f"'generations': {error}") from error
        return cls(
            optional(data, "id", chunk_id_of_hex),
            generations,
            number(data, "generation_count", len(generations)),
        )


@frozen
class DamagePage:
    """Answer of ``GET /v1/damage?from=NUMBER``. ``next_from`` ``None``: it is the last."""

    chunks: tuple[DamagedChunk, ...]
    next_from: int | None

    def to_json(self) -> Json:
        """As JSON."""
        return {"chunks": [each.to_json() for each in self.chunks], "next": self.next_from}

    @classmethod
    def from_json(cls, data: object) -> "DamagePage":
        """From JSON."""
        chunks = member(data, "chunks")
        if not isinstance(chunks, list) or len(chunks) > DAMAGE_PAGE_MAX:
            raise BadMessage(f"'chunks' must be a list of at most {DAMAGE_PAGE_MAX}")
        following = member(data, "next")
        return cls(
            tuple(map(DamagedChunk.from_json, chunks)),
            None if following is None else number(data, "next"),
        )
