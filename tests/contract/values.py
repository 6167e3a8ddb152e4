"""Values for the contract of `IRepository`: chunks of unsealed nonsense, commits, whole backups."""

from hashlib import sha256

from attrs import frozen

from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    GenerationId,
    SessionId,
    parse_chunk_id,
    parse_generation_id,
)
from obnam.wire.frames import pack_header
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import Commit, Receipt

ROOM = memoryview(bytearray(1 << 20))
UNKNOWN_SESSION = SessionId("f" * 32)


@frozen
class Repositories:
    """Three clients: two of one repository, and one of another on the same server."""

    own: IRepository
    colleague: IRepository
    stranger: IRepository


def sealed(text: str) -> bytes:
    """Some bytes."""
    return b"sealed " + text.encode()


def id_of(data: bytes) -> ChunkId:
    """A chunk id that belongs to ``data``."""
    return parse_chunk_id(b"\x01" + sha256(data).digest())


def generation_id(text: str) -> GenerationId:
    """A generation id that belongs to ``text``."""
    return parse_generation_id(sha256(text.encode()).hexdigest()[:32])


def body_of(*chunks: bytes) -> memoryview:
    """Frames."""
    return memoryview(b"".join(pack_header(id_of(c), len(c)) + c for c in chunks))


def commit_of(
    name: str, previous: GenerationId | None, chunks: list[bytes], partial: bool = False
) -> Commit:
    """The commit of a generation of ``chunks``."""
    manifest = f"manifest of {name}".encode()
    return Commit(
        generation=generation_id(name),
        previous=previous,
        chunks=SetSum().add({id_of(c) for c in chunks}),
        manifest_id=id_of(manifest),
        manifest=manifest,
        partial=partial,
    )


async def fetched(repository: IRepository, *ids: ChunkId) -> list[bytes]:
    """The sealed chunks with ``ids``; absent ones are empty."""
    frames = await repository.fetch(ids, ROOM)
    assert [frame.chunk_id for frame in frames] == list(ids)
    return [bytes(ROOM[frame.offset : frame.offset + frame.length]) for frame in frames]


async def back_up(
    repository: IRepository,
    name: str,
    chunks: list[bytes],
    previous: GenerationId | None = None,
) -> Receipt:
    """A whole backup of ``chunks``, based on nothing."""
    session = await repository.begin_session(None)
    await repository.store(session, body_of(*chunks))
    await repository.refer(session, [id_of(c) for c in chunks], [])
    return await repository.commit(session, commit_of(name, previous, chunks))
