"""The JSON bodies of the protocol as frozen values that check themselves.

``to_json`` gives what ``json.dumps`` takes; ``from_json`` takes what ``json.loads`` gave and
raises `BadMessage` for anything that is not exactly a message, whoever sent it. Unknown members
are ignored, so that a newer end may say more. Times are ns since the epoch, by the server's
clock unless the name says otherwise; sealed bytes are base64.

See ``docs/protocol.md``.
"""

import re
from typing import Any

from attrs import frozen

from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    RepositoryName,
    parse_client_name,
    parse_generation_id,
    parse_repository_name,
)
from obnam.wire.limits import KEYRING_SLOT_MAX, KEYRING_SLOTS_MAX, MANIFEST_MAX, PIN_REASON_MAX
from obnam.wire.members import (
    BadMessage,
    Json,
    bytes_if_there,
    chunk_id_of_hex,
    encoded,
    flag,
    flag_if_there,
    if_there,
    member,
    number,
    optional,
    parsed,
    sealed,
    text,
    xor_of_hex,
)
from obnam.wire.receipts import (
    PUBLIC_KEY_BYTES,
    REPOSITORY_ID_BYTES,
    Countersignature,
    Receipt,
)

__all__ = ["BadMessage", "Countersignature", "Json", "Receipt"]

SCOPES = ("backup", "restore", "manage")
"""What a token may do. ``backup`` can never delete, and ``restore`` can only read."""


@frozen
class SessionRequest:
    """Body of ``POST /v1/sessions``."""

    base: GenerationId | None

    def to_json(self) -> Json:
        """As JSON."""
        return {"base": self.base}

    @classmethod
    def from_json(cls, data: object) -> "SessionRequest":
        """From JSON."""
        return cls(optional(data, "base", parse_generation_id))


@frozen
class Commit:
    """Body of ``POST /v1/generations``.

    ``previous`` is this client's latest generation (compare and swap); ``chunks`` sums up the
    whole set, data and generation database; ``partial`` marks a checkpoint.
    """

    generation: GenerationId
    previous: GenerationId | None
    chunks: SetSum
    manifest_id: ChunkId
    manifest: bytes
    partial: bool = False

    def to_json(self) -> Json:
        """As JSON."""
        return {
            "generation": self.generation,
            "previous": self.previous,
            "count": self.chunks.count,
            "xor": self.chunks.xor_hex,
            "manifest_id": self.manifest_id.hex(),
            "manifest": encoded(self.manifest),
            "partial": self.partial,
        }

    @classmethod
    def from_json(cls, data: object) -> "Commit":
        """From JSON."""
        return cls(
            generation=parsed(data, "generation", parse_generation_id),
            previous=optional(data, "previous", parse_generation_id),
            chunks=SetSum(number(data, "count"), parsed(data, "xor", xor_of_hex)),
            manifest_id=parsed(data, "manifest_id", chunk_id_of_hex),
            manifest=sealed(data, "manifest", MANIFEST_MAX),
            partial=flag(data, "partial"),
        )


@frozen
class PinRequest:
    """Body of ``PUT /v1/generations/ID/pin``."""

    reason: str

    def to_json(self) -> Json:
        """As JSON."""
        return {"reason": self.reason}

    @classmethod
    def from_json(cls, data: object) -> "PinRequest":
        """From JSON."""
        return cls(text(data, "reason", PIN_REASON_MAX))


@frozen
class GenerationSummary:
    """One line of ``GET /v1/generations``: all that the server knows without any key."""

    receipt: Receipt
    client: ClientName
    previous: GenerationId | None
    partial: bool
    chunk_count: int

    def to_json(self) -> Json:
        """As JSON."""
        return {
            **self.receipt.to_json(),
            "client": self.client,
            "previous": self.previous,
            "partial": self.partial,
            "chunk_count": self.chunk_count,
        }

    @classmethod
    def from_json(cls, data: object) -> "GenerationSummary":
        """From JSON."""
        return cls(
            receipt=Receipt.from_json(data),
            client=parsed(data, "client", parse_client_name),
            previous=optional(data, "previous", parse_generation_id),
            partial=flag(data, "partial"),
            chunk_count=number(data, "chunk_count"),
        )


@frozen
class CommittedGeneration:
    """Answer of ``GET /v1/generations/ID``."""

    summary: GenerationSummary
    manifest_id: ChunkId
    manifest: bytes

    def to_json(self) -> Json:
        """As JSON."""
        return {
            **self.summary.to_json(),
            "manifest_id": self.manifest_id.hex(),
            "manifest": encoded(self.manifest),
        }

    @classmethod
    def from_json(cls, data: object) -> "CommittedGeneration":
        """From JSON."""
        return cls(
            summary=GenerationSummary.from_json(data),
            manifest_id=parsed(data, "manifest_id", chunk_id_of_hex),
            manifest=sealed(data, "manifest", MANIFEST_MAX),
        )


@frozen
class RepositoryDescription:
    """Answer of ``GET /v1/repository``.

    ``latest`` is the newest generation of the asking client (``None``: it has none yet), with its
    sealed manifest, so that a backup starts with one question. Sizes in bytes; ``quota_bytes``
    ``None``: no limit. ``server_key`` signs receipts, which name ``repository_id`` (16 bytes), and
    ``newest`` is the repository's newest generation, of any client; ``has_chunks``: whether any
    chunk was stored, or at least begun to be. Older servers say none of them.
    """

    repository: RepositoryName
    client: ClientName
    scopes: tuple[str, ...]
    server_time_ns: int
    used_bytes: int
    quota_bytes: int | None
    generation_count: int
    damaged_chunk_count: int
    latest: CommittedGeneration | None
    repository_id: bytes | None = None
    server_key: bytes | None = None
    newest: GenerationSummary | None = None
    has_chunks: bool | None = None

    def to_json(self) -> Json:
        """As JSON."""
        more: dict[str, Any] = {}
        if self.has_chunks is not None:
            more["has_chunks"] = self.has_chunks
        if self.repository_id is not None:
            more["repository_id"] = self.repository_id.hex()
        if self.server_key is not None:
            more["server_key"] = self.server_key.hex()
        if self.newest is not None:
            more["newest"] = self.newest.to_json()
        return {
            **more,
            "repository": self.repository,
            "client": self.client,
            "scopes": list(self.scopes),
            "server_time_ns": self.server_time_ns,
            "used_bytes": self.used_bytes,
            "quota_bytes": self.quota_bytes,
            "generation_count": self.generation_count,
            "damaged_chunk_count": self.damaged_chunk_count,
            "latest": None if self.latest is None else self.latest.to_json(),
        }

    @classmethod
    def from_json(cls, data: object) -> "RepositoryDescription":
        """From JSON."""
        scopes = member(data, "scopes")
        if not isinstance(scopes, list) or len(scopes) > 16 or not all(s in SCOPES for s in scopes):
            raise BadMessage("'scopes' must be a list of scopes")
        quota = member(data, "quota_bytes")
        latest = member(data, "latest")
        return cls(
            repository=parsed(data, "repository", parse_repository_name),
            client=parsed(data, "client", parse_client_name),
            scopes=tuple(scopes),
            server_time_ns=number(data, "server_time_ns"),
            used_bytes=number(data, "used_bytes"),
            quota_bytes=None if quota is None else number(data, "quota_bytes"),
            generation_count=number(data, "generation_count"),
            damaged_chunk_count=number(data, "damaged_chunk_count"),
            latest=None if latest is None else CommittedGeneration.from_json(latest),
            repository_id=bytes_if_there(data, "repository_id", REPOSITORY_ID_BYTES),
            server_key=bytes_if_there(data, "server_key", PUBLIC_KEY_BYTES),
            newest=if_there(data, "newest", GenerationSummary.from_json),
            has_chunks=flag_if_there(data, "has_chunks"),
        )


@frozen
class KeyringSlot:
    """One slot: an id that its maker chose, a label in clear, and the sealed bytes.

    The server checks sizes only.
    """

    slot: str
    label: str
    sealed: bytes

    def to_json(self) -> Json:
        """As JSON."""
        return {"slot": self.slot, "label": self.label, "sealed": encoded(self.sealed)}

    @classmethod
    def from_json(cls, data: object) -> "KeyringSlot":
        """From JSON."""
        return cls(
            slot=parsed(data, "slot", parse_generation_id),
            label=text(data, "label", 128),
            sealed=sealed(data, "sealed", KEYRING_SLOT_MAX),
        )


@frozen
class Keyring:
    """Answer of ``GET /v1/keyring``; ``etag`` travels in the header of that name."""

    slots: tuple[KeyringSlot, ...]
    etag: str

    def to_json(self) -> Json:
        """As JSON (without the etag)."""
        return {"slots": [slot.to_json() for slot in self.slots]}

    @classmethod
    def from_json(cls, data: object, etag: str) -> "Keyring":
        """From JSON and the ``ETag`` header."""
        slots = member(data, "slots")
        if not isinstance(slots, list) or len(slots) > KEYRING_SLOTS_MAX:
            raise BadMessage(f"'slots' must be a list of at most {KEYRING_SLOTS_MAX}")
        return cls(tuple(KeyringSlot.from_json(slot) for slot in slots), etag)


@frozen
class EnrolmentRequest:
    """Body of ``POST /v1/enrolment``, the one request without a token.

    The client makes its token and sends only the SHA-256 of it; so a repeated request (the answer
    was lost) is harmless, and the token never crosses the wire before it is in use.
    """

    code: str
    token_sha256: str

    def to_json(self) -> Json:
        """As JSON."""
        return {"code": self.code, "token_sha256": self.token_sha256}

    @classmethod
    def from_json(cls, data: object) -> "EnrolmentRequest":
        """From JSON."""
        return cls(text(data, "code", 128), _token_sha256(data))


def _token_sha256(data: object) -> str:
    digest = text(data, "token_sha256", 64)
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise BadMessage("'token_sha256' must be 64 hexadecimal digits")
    return digest


@frozen
class TokenRequest:
    """Body of ``POST /v1/token``: the SHA-256 of the token that is to take over."""

    token_sha256: str

    def to_json(self) -> Json:
        """As JSON."""
        return {"token_sha256": self.token_sha256}

    @classmethod
    def from_json(cls, data: object) -> "TokenRequest":
        """From JSON."""
        return cls(_token_sha256(data))


@frozen
class EnrolmentAnswer:
    """Answer of ``POST /v1/enrolment``.

    ``server_key``: the Ed25519 public key that signs receipts; older servers have none.
    """

    repository: RepositoryName
    client: ClientName
    server_key: bytes | None = None

    def to_json(self) -> Json:
        """As JSON."""
        value = {"repository": self.repository, "client": self.client}
        return value if self.server_key is None else {**value, "server_key": self.server_key.hex()}

    @classmethod
    def from_json(cls, data: object) -> "EnrolmentAnswer":
        """From JSON."""
        return cls(
            parsed(data, "repository", parse_repository_name),
            parsed(data, "client", parse_client_name),
            bytes_if_there(data, "server_key", PUBLIC_KEY_BYTES),
        )
