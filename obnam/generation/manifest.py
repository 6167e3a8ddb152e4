"""The manifest: what is signed, sealed and committed for one generation. Pure.

See ``docs/format/manifest.md``. In clear it is the line ``obnam manifest 1``, a 64-byte Ed25519
signature, and a JSON document, over whose bytes the signature is.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from obnam.errors import UnknownFormat
from obnam.generation.pagemap import PageChunk, PageMap, Run
from obnam.model.chunk import SetSum
from obnam.model.ids import (
    CHUNK_ID_BYTES,
    ChunkId,
    ClientName,
    GenerationId,
    parse_chunk_id,
    parse_client_name,
    parse_generation_id,
)

FORMAT = 1
NUMBER_MAX = 2**63 - 1
CHECKSUM_BYTES = 16
SIGNATURE_CONTEXT = b"obnam manifest 1\n"
_SIGNATURE_BYTES = 64


@frozen
class Link:
    """The same client's generation before: its id, and the name of its manifest."""

    generation: GenerationId
    manifest_id: ChunkId


@frozen
class Manifest:
    """One generation, as its client signs it.

    ``sequence`` counts the client's commits from 1. ``chunks`` sums up all chunks of the
    generation, data and database. ``database_checksum`` is the xxh3-128 of the database file.
    ``counts``: entries by reason, and bytes. Times in ns by the client's clock.
    """

    generation: GenerationId
    client: ClientName
    host: str
    sequence: int
    previous: Link | None
    partial: bool
    started_ns: int
    ended_ns: int
    roots: tuple[bytes, ...]
    counts: Mapping[str, int]
    chunks: SetSum
    database: PageMap
    database_checksum: bytes
    obnam_version: str


def encode(manifest: Manifest, sign: Callable[[bytes, bytes], bytes]) -> bytes:
    """The manifest's plaintext; ``sign`` takes context and message."""
    body = json.dumps(_document(manifest), separators=(",", ":"), sort_keys=True).encode("utf-8")
    return SIGNATURE_CONTEXT + sign(SIGNATURE_CONTEXT, body) + body


def decode(plaintext: bytes, verify: Callable[[bytes, bytes, bytes], None]) -> Manifest:
    """Check the signature (``verify`` takes context, message, signature), then the document.

    Raises what ``verify`` raises, ``UnknownFormat``, and ``ValueError`` for nonsense.
    """
    if not plaintext.startswith(SIGNATURE_CONTEXT):
        first = plaintext[:32].split(b"\n", 1)[0].decode("ascii", "replace")
        raise UnknownFormat("the manifest", repr(first), f"1 to {FORMAT}")
    start = len(SIGNATURE_CONTEXT) + _SIGNATURE_BYTES
    body = plaintext[start:]
    verify(SIGNATURE_CONTEXT, body, plaintext[len(SIGNATURE_CONTEXT) : start])
    try:
        return _manifest(json.loads(body))
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"not a manifest: {error!r}") from error


def _document(manifest: Manifest) -> dict[str, Any]:
    return {
        "generation": manifest.generation,
        "client": manifest.client,
        "host": manifest.host,
        "sequence": manifest.sequence,
        "previous": None
        if manifest.previous is None
        else [manifest.previous.generation, manifest.previous.manifest_id.hex()],
        "partial": manifest.partial,
        "started_ns": manifest.started_ns,
        "ended_ns": manifest.ended_ns,
        "roots": [root.hex() for root in manifest.roots],
        "counts": dict(manifest.counts),
        "chunks": [manifest.chunks.count, manifest.chunks.xor_hex],
        "database": {
            "chunks": [[chunk.id.hex(), chunk.pages] for chunk in manifest.database.chunks],
            "runs": [[run.page, run.count, run.chunk, run.start] for run in manifest.database.runs],
            "checksum": manifest.database_checksum.hex(),
        },
        "obnam_version": manifest.obnam_version,
    }


def _manifest(document: dict[str, Any]) -> Manifest:
    previous = document["previous"]
    count, xor = document["chunks"]
    database = document["database"]
    page_map = PageMap(
        tuple(
            PageChunk(parse_chunk_id(bytes.fromhex(text)), _number(pages))
            for text, pages in database["chunks"]
        ),
        tuple(Run(*map(_number, run)) for run in database["runs"]),
    )
    page_map.check()
    checksum = bytes.fromhex(database["checksum"])
    if len(checksum) != CHECKSUM_BYTES:
        raise ValueError("not a manifest: the checksum is none")
    return Manifest(
        generation=parse_generation_id(document["generation"]),
        client=parse_client_name(document["client"]),
        host=str(document["host"]),
        sequence=_number(document["sequence"], 1),
        previous=None
        if previous is None
        else Link(parse_generation_id(previous[0]), parse_chunk_id(bytes.fromhex(previous[1]))),
        partial=bool(document["partial"]),
        started_ns=_number(document["started_ns"]),
        ended_ns=_number(document["ended_ns"]),
        roots=tuple(bytes.fromhex(root) for root in document["roots"]),
        counts={str(name): _number(value) for name, value in document["counts"].items()},
        chunks=SetSum(_number(count), _xor(xor)),
        database=page_map,
        database_checksum=checksum,
        obnam_version=str(document["obnam_version"]),
    )


def _number(value: object, low: int = 0) -> int:
    if type(value) is not int or not low <= value <= NUMBER_MAX:
        raise ValueError(f"not a manifest: {value!r:.50} is out of place")
    return value


def _xor(text: str) -> int:
    data = bytes.fromhex(text)
    if len(data) != CHUNK_ID_BYTES:
        raise ValueError("not a manifest: the XOR of the chunk ids is none")
    return int.from_bytes(data, "big")
