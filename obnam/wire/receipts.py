"""Receipts: what a server says of a commit it accepted, and the bytes of it that it signs. Pure.

Each statement names the one before it by its hash, so that the statements of a repository are one
chain: a server that has signed two with the same number has gone back behind one of them. See
``docs/format/receipt.md``.
"""

from hashlib import sha256
from struct import Struct
from typing import Any

from attrs import frozen

from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    parse_chunk_id,
    parse_client_name,
    parse_generation_id,
)
from obnam.wire.members import Json, chunk_id_of_hex, digits, if_there, number, parsed

FIRST_LINE = b"obnam receipt 1\n"
"""Says what is signed and in which format: nothing else that begins so is signed by a server."""

REPOSITORY_ID_BYTES = 16
HASH_BYTES = 32
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32

NO_RECEIPT = bytes(HASH_BYTES)
"""In the place of a hash: there is no signed receipt before it."""

_FIXED = Struct(f">16s{REPOSITORY_ID_BYTES}sQQ16s33s{HASH_BYTES}sB")
_NAME_BYTES_MAX = 63


@frozen
class Statement:
    """What a receipt says: the server received this manifest then, as this number, after that.

    ``sequence`` counts the commits of the repository from 1; ``received_ns`` is by the server's
    clock; ``previous`` is the hash of the receipt before it, or `NO_RECEIPT`.
    """

    repository_id: bytes
    sequence: int
    received_ns: int
    generation: GenerationId
    client: ClientName
    manifest_id: ChunkId
    previous: bytes

    def encode(self) -> bytes:
        """The bytes that are signed. ``ValueError`` when something has another length."""
        name = self.client.encode("ascii")
        if (len(self.repository_id), len(self.previous)) != (REPOSITORY_ID_BYTES, HASH_BYTES):
            raise ValueError("not the id of a repository, or not a hash")
        return (
            _FIXED.pack(
                FIRST_LINE,
                self.repository_id,
                self.sequence,
                self.received_ns,
                bytes.fromhex(self.generation),
                self.manifest_id,
                self.previous,
                len(name),
            )
            + name
        )

    @classmethod
    def decode(cls, data: bytes) -> "Statement":
        """The reverse. ``ValueError`` for anything that `encode` does not make."""
        if not _FIXED.size < len(data) <= _FIXED.size + _NAME_BYTES_MAX:
            raise ValueError("no receipt is so long")
        line, repository_id, sequence, received, generation, manifest, previous, length = (
            _FIXED.unpack_from(data)
        )
        name = data[_FIXED.size :]
        if line != FIRST_LINE or length != len(name):
            raise ValueError("not a receipt of format 1")
        return cls(
            repository_id,
            sequence,
            received,
            parse_generation_id(generation.hex()),
            parse_client_name(name.decode("ascii")),
            parse_chunk_id(manifest),
            previous,
        )

    def hash(self) -> bytes:
        """SHA-256 of the signed bytes: by this the next receipt names this one."""
        return sha256(self.encode()).digest()


@frozen
class Countersignature:
    """The server's signature on a receipt, and what it signs beside what the receipt says.

    ``previous``: the hash of the repository's receipt before it (`obnam.wire.receipts`).
    """

    previous: bytes
    manifest_id: ChunkId
    signature: bytes

    def to_json(self) -> Json:
        """As JSON."""
        return {
            "previous": self.previous.hex(),
            "manifest_id": self.manifest_id.hex(),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, data: object) -> "Countersignature":
        """From JSON."""
        return cls(
            digits(data, "previous", HASH_BYTES),
            parsed(data, "manifest_id", chunk_id_of_hex),
            digits(data, "signature", SIGNATURE_BYTES),
        )


@frozen
class Receipt:
    """What the server says of a commit it accepted.

    ``sequence`` counts the commits of the repository from 1, without gaps. ``countersigned``:
    ``None`` for what was committed before servers signed, and from older servers.
    """

    generation: GenerationId
    sequence: int
    received_ns: int
    countersigned: Countersignature | None = None

    def to_json(self) -> Json:
        """As JSON."""
        value: dict[str, Any] = {
            "generation": self.generation,
            "sequence": self.sequence,
            "received_ns": self.received_ns,
        }
        if self.countersigned is not None:
            value["countersigned"] = self.countersigned.to_json()
        return value

    def statement(self, repository_id: bytes, client: ClientName) -> Statement | None:
        """What is signed; ``None``: nothing is."""
        if self.countersigned is None:
            return None
        return Statement(
            repository_id,
            self.sequence,
            self.received_ns,
            self.generation,
            client,
            self.countersigned.manifest_id,
            self.countersigned.previous,
        )

    @classmethod
    def from_json(cls, data: object) -> "Receipt":
        """From JSON."""
        return cls(
            generation=parsed(data, "generation", parse_generation_id),
            sequence=number(data, "sequence", 1),
            received_ns=number(data, "received_ns"),
            countersigned=if_there(data, "countersigned", Countersignature.from_json),
        )
