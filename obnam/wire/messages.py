"""The JSON bodies of the protocol as frozen values that check themselves.

``to_json`` gives what ``json.dumps`` takes; ``from_json`` takes what ``json.loads`` gave and
raises `BadMessage` for anything that is not exactly a message, whoever sent it. Unknown members
are ignored, so that a newer end may say more. Times are ns since the epoch, by the server's
clock unless the name says otherwise; sealed bytes are base64.

See ``docs/protocol.md``.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    RepositoryName,
    parse_chunk_id,
    parse_client_name,
    parse_generation_id,
    parse_repository_name,
)
from obnam.wire.limits import KEYRING_SLOT_MAX, KEYRING_SLOTS_MAX, MANIFEST_MAX, TEXT_MAX

SCOPES = ("backup", "restore", "manage")
"""What a token may do. ``backup`` can never delete, and ``restore`` can only read."""

Json = Mapping[str, Any]
T = TypeVar("T")


class BadMessage(ValueError):
    """Not a message of the protocol."""


def _member(data: object, name: str) -> Any:
    if not isinstance(data, Mapping):
        raise BadMessage("not a JSON object")
    if name not in data:
        raise BadMessage(f"{name!r} is missing")
    return data[name]


def _text(data: object, name: str, limit: int = TEXT_MAX) -> str:
    value = _member(data, name)
    if not isinstance(value, str) or len(value) > limit:
        raise BadMessage(f"{name!r} must be a text of at most {limit} characters")
    return value


def _number(data: object, name: str, low: int = 0, high: int = 2**63 - 1) -> int:
    value = _member(data, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadMessage(f"{name!r} must be a whole number from {low} to {high}")
    return value


def _flag(data: object, name: str) -> bool:
    value = _member(data, name)
    if not isinstance(value, bool):
        raise BadMessage(f"{name!r} must be true or false")
    return value


def _parsed(data: object, name: str, parse: Callable[[str], T], limit: int = TEXT_MAX) -> T:
    text = _text(data, name, limit)
    try:
        return parse(text)
    except ValueError as error:
        raise BadMessage(f"{name!r}: {error}") from error


def _optional(data: object, name: str, parse: Callable[[str], T]) -> T | None:
    return None if _member(data, name) is None else _parsed(data, name, parse)


def _sealed(data: object, name: str, limit: int) -> bytes:
    text = _text(data, name, 4 * (limit // 3 + 1))
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error, or characters beyond ASCII
        raise BadMessage(f"{name!r} is not base64") from error
    if len(value) > limit:
        raise BadMessage(f"{name!r} is longer than {limit} bytes")
    return value


def _encoded(sealed: bytes) -> str:
    return base64.b64encode(sealed).decode("ascii")


def _chunk_id_of_hex(text: str) -> ChunkId:
    return parse_chunk_id(bytes.fromhex(text))


def _xor_of_hex(text: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{66}", text):
        raise ValueError("not 66 hexadecimal digits")
    return int(text, 16)


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
        return cls(_optional(data, "base", parse_generation_id))


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
            "manifest": _encoded(self.manifest),
            "partial": self.partial,
        }

    @classmethod
    def from_json(cls, data: object) -> "Commit":
        """From JSON."""
        return cls(
            generation=_parsed(data, "generation", parse_generation_id),
            previous=_optional(data, "previous", parse_generation_id),
            chunks=SetSum(_number(data, "count"), _parsed(data, "xor", _xor_of_hex)),
            manifest_id=_parsed(data, "manifest_id", _chunk_id_of_hex),
            manifest=_sealed(data, "manifest", MANIFEST_MAX),
            partial=_flag(data, "partial"),
        )


@frozen
class Receipt:
    """What the server says of a commit it accepted.

    ``sequence`` counts the commits of the repository from 1, without gaps.
    """

    generation: GenerationId
    sequence: int
    received_ns: int

    def to_json(self) -> Json:
        """As JSON."""
        return {
            "generation": self.generation,
            "sequence": self.sequence,
            "received_ns": self.received_ns,
        }

    @classmethod
    def from_json(cls, data: object) -> "Receipt":
        """From JSON."""
        return cls(
            generation=_parsed(data, "generation", parse_generation_id),
            sequence=_number(data, "sequence", 1),
            received_ns=_number(data, "received_ns"),
        )


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
            client=_parsed(data, "client", parse_client_name),
            previous=_optional(data, "previous", parse_generation_id),
            partial=_flag(data, "partial"),
            chunk_count=_number(data, "chunk_count"),
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
            "manifest": _encoded(self.manifest),
        }

    @classmethod
    def from_json(cls, data: object) -> "CommittedGeneration":
        """From JSON."""
        return cls(
            summary=GenerationSummary.from_json(data),
            manifest_id=_parsed(data, "manifest_id", _chunk_id_of_hex),
            manifest=_sealed(data, "manifest", MANIFEST_MAX),
        )


@frozen
class RepositoryDescription:
    """Answer of ``GET /v1/repository``.

    ``latest`` is the newest generation of the asking client (``None``: it has none yet), with its
    sealed manifest, so that a backup starts with one question. Sizes in bytes; ``quota_bytes``
    ``None``: no limit.
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

    def to_json(self) -> Json:
        """As JSON."""
        return {
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
        scopes = _member(data, "scopes")
        if not isinstance(scopes, list) or len(scopes) > 16 or not all(s in SCOPES for s in scopes):
            raise BadMessage("'scopes' must be a list of scopes")
        quota = _member(data, "quota_bytes")
        latest = _member(data, "latest")
        return cls(
            repository=_parsed(data, "repository", parse_repository_name),
            client=_parsed(data, "client", parse_client_name),
            scopes=tuple(scopes),
            server_time_ns=_number(data, "server_time_ns"),
            used_bytes=_number(data, "used_bytes"),
            quota_bytes=None if quota is None else _number(data, "quota_bytes"),
            generation_count=_number(data, "generation_count"),
            damaged_chunk_count=_number(data, "damaged_chunk_count"),
            latest=None if latest is None else CommittedGeneration.from_json(latest),
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
        return {"slot": self.slot, "label": self.label, "sealed": _encoded(self.sealed)}

    @classmethod
    def from_json(cls, data: object) -> "KeyringSlot":
        """From JSON."""
        return cls(
            slot=_parsed(data, "slot", parse_generation_id),
            label=_text(data, "label", 128),
            sealed=_sealed(data, "sealed", KEYRING_SLOT_MAX),
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
        slots = _member(data, "slots")
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
        digest = _text(data, "token_sha256", 64)
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise BadMessage("'token_sha256' must be 64 hexadecimal digits")
        return cls(_text(data, "code", 128), digest)


@frozen
class EnrolmentAnswer:
    """Answer of ``POST /v1/enrolment``."""

    repository: RepositoryName
    client: ClientName

    def to_json(self) -> Json:
        """As JSON."""
        return {"repository": self.repository, "client": self.client}

    @classmethod
    def from_json(cls, data: object) -> "EnrolmentAnswer":
        """From JSON."""
        return cls(
            _parsed(data, "repository", parse_repository_name),
            _parsed(data, "client", parse_client_name),
        )
