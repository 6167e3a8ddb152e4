"""Chunks and commits for tests of the store, and ways to look at all that it holds."""

import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    RepositoryName,
    SessionId,
    parse_chunk_id,
    parse_generation_id,
)
from obnam.wire.frames import pack_header, split
from obnam.wire.messages import Commit
from obnam_server.store.repository import RepositoryStore, Upload

ALICE, BOB = ClientName("alice"), ClientName("bob")
HOME = RepositoryName("home")
START_NS = 1_800_000_000_000_000_000


class Clock:
    """Goes on by a second each time it is looked at (ns since the epoch)."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self._steps = count(1)

    def __call__(self) -> int:
        return self.now_ns + next(self._steps) * 1_000_000_000


def digest(token: str) -> str:
    """What a server keeps of a client's token."""
    return sha256(token.encode()).hexdigest()


def chunk_id(name: str) -> ChunkId:
    """The id of the chunk called ``name``."""
    return parse_chunk_id(b"\x01" + sha256(name.encode()).digest())


def sealed(name: str) -> bytes:
    """Its sealed bytes: 64 to 319, the same each time."""
    digest = sha256(b"sealed" + name.encode()).digest()
    return (digest * 10)[: 64 + digest[0]]


def body_of(names: Iterable[str]) -> bytes:
    """The frames of chunks."""
    return b"".join(pack_header(chunk_id(n), len(sealed(n))) + sealed(n) for n in names)


def generation_id(name: str) -> GenerationId:
    """The id of the generation called ``name``."""
    return parse_generation_id(sha256(name.encode()).hexdigest()[:32])


def commit_of(name: str, previous: GenerationId | None, names: Iterable[str]) -> Commit:
    """The commit of a generation of chunks."""
    return Commit(
        generation=generation_id(name),
        previous=previous,
        chunks=SetSum().add({chunk_id(n) for n in names}),
        manifest_id=chunk_id(f"manifest of {name}"),
        manifest=f"manifest of {name}".encode(),
    )


def finished(store: RepositoryStore, body: bytes, piece_bytes: int = 1000) -> Upload:
    """An upload of ``body``, in pieces, finished; aborted when that fails."""
    upload = store.begin_upload()
    try:
        for at in range(0, len(body), piece_bytes):
            upload.write([memoryview(body)[at : at + piece_bytes]])
        upload.finish()
    except BaseException:
        upload.abort()
        raise
    return upload


def put(store: RepositoryStore, session: SessionId, names: Sequence[str]) -> None:
    """Store chunks; aborted when that fails."""
    upload = finished(store, body_of(names))
    try:
        store.accept(session, upload)
    except BaseException:
        upload.abort()
        raise


def back_up(
    store: RepositoryStore, client: ClientName, name: str, names: Sequence[str]
) -> GenerationId:
    """A whole backup based on nothing, after the client's latest."""
    latest = store.latest(client)
    previous = None if latest is None else latest.summary.receipt.generation
    session = store.begin_session(client, None)
    put(store, session, names)
    store.refer(client, session, [chunk_id(n) for n in names], [])
    return store.commit(client, session, commit_of(name, previous, names)).generation


def held(store: RepositoryStore, names: Sequence[str]) -> dict[str, bytes]:
    """The sealed bytes of those of ``names`` that are there."""
    ids = {chunk_id(n): n for n in names}
    body = memoryview(b"".join(store.frames(store.wanted(list(ids)))))
    return {
        ids[f.chunk_id]: bytes(body[f.offset : f.offset + f.length])
        for f in split(body)
        if f.length
    }


def all_right(names: Iterable[str]) -> dict[str, bytes]:
    """What `held` gives when all are there."""
    return {n: sealed(n) for n in names}


def rows_of(index: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table of a closed index, in the order of their first column."""
    connection = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
    try:
        return sorted(connection.execute(f"SELECT * FROM {table}").fetchall())
    finally:
        connection.close()


def index_path(data: Path, name: RepositoryName = HOME) -> Path:
    """Where the index of a repository is."""
    return data / "repositories" / name / "index.sqlite"


def segment_paths(data: Path, name: RepositoryName = HOME) -> list[Path]:
    """The files of all segments, in the order of their numbers."""
    found = (data / "repositories" / name / "segments").glob("*/*")
    return sorted(found, key=lambda path: path.name)


REBUILT = ("chunks", "segments", "generations", "keyring", "register")
"""The tables that a rebuild brings back."""


def rebuilt_rows(index: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a rebuild must bring back."""
    return {table: rows_of(index, table) for table in REBUILT}
