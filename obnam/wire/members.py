"""Members of JSON messages, checked one by one. For `obnam.wire.messages` and its like."""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from obnam.model.ids import ChunkId, parse_chunk_id
from obnam.wire.limits import TEXT_MAX

_SURROGATE = re.compile("[\ud800-\udfff]")

Json = Mapping[str, Any]
T = TypeVar("T")


class BadMessage(ValueError):
    """Not a message of the protocol."""


def member(data: object, name: str) -> Any:
    """What a JSON object has under ``name``."""
    if not isinstance(data, Mapping):
        raise BadMessage("not a JSON object")
    if name not in data:
        raise BadMessage(f"{name!r} is missing")
    return data[name]


def text(data: object, name: str, limit: int = TEXT_MAX) -> str:
    """A text of at most ``limit`` characters.

    JSON can have halves of surrogate pairs in it; those can neither be stored nor printed.
    """
    value = member(data, name)
    if not isinstance(value, str) or len(value) > limit:
        raise BadMessage(f"{name!r} must be a text of at most {limit} characters")
    if not value.isascii() and _SURROGATE.search(value):
        raise BadMessage(f"{name!r} is no Unicode text")
    return value


def number(data: object, name: str, low: int = 0, high: int = 2**63 - 1) -> int:
    """A whole number from ``low`` to ``high``."""
    value = member(data, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadMessage(f"{name!r} must be a whole number from {low} to {high}")
    return value


def flag(data: object, name: str) -> bool:
    """True or false."""
    value = member(data, name)
    if not isinstance(value, bool):
        raise BadMessage(f"{name!r} must be true or false")
    return value


def parsed(data: object, name: str, parse: Callable[[str], T], limit: int = TEXT_MAX) -> T:
    """A text, as ``parse`` takes it; its ``ValueError`` is a `BadMessage`."""
    value = text(data, name, limit)
    try:
        return parse(value)
    except ValueError as error:
        raise BadMessage(f"{name!r}: {error}") from error


def optional(data: object, name: str, parse: Callable[[str], T]) -> T | None:
    """As `parsed`, or null."""
    return None if member(data, name) is None else parsed(data, name, parse)


def sealed(data: object, name: str, limit: int) -> bytes:
    """Bytes in base64, at most ``limit`` of them."""
    base64_text = text(data, name, 4 * (limit // 3 + 1))
    try:
        value = base64.b64decode(base64_text, validate=True)
    except ValueError as error:  # binascii.Error, or characters beyond ASCII
        raise BadMessage(f"{name!r} is not base64") from error
    if len(value) > limit:
        raise BadMessage(f"{name!r} is longer than {limit} bytes")
    return value


def digits(data: object, name: str, size_bytes: int) -> bytes:
    """Exactly so many bytes, in lower-case hexadecimal digits."""
    value = text(data, name, 2 * size_bytes)
    if not re.fullmatch(r"(?:[0-9a-f]{2})+", value) or len(value) != 2 * size_bytes:
        raise BadMessage(f"{name!r} must be {2 * size_bytes} hexadecimal digits")
    return bytes.fromhex(value)


def if_there(data: object, name: str, parse: Callable[[object], T]) -> T | None:
    """What ``parse`` makes of a member that older ends do not send; ``None``: it is not there."""
    if isinstance(data, Mapping) and name in data:
        return parse(data[name])
    return None


def flag_if_there(data: object, name: str) -> bool | None:
    """As `flag`, of a member that older ends do not send; ``None``: it is not there."""
    if isinstance(data, Mapping) and name in data:
        return flag(data, name)
    return None


def bytes_if_there(data: object, name: str, size_bytes: int) -> bytes | None:
    """As `digits`, of a member that older ends do not send; ``None``: it is not there."""
    if isinstance(data, Mapping) and name in data:
        return digits(data, name, size_bytes)
    return None


def encoded(sealed: bytes) -> str:
    """Bytes as `sealed` takes them."""
    return base64.b64encode(sealed).decode("ascii")


def chunk_id_of_hex(text: str) -> ChunkId:
    """For `parsed`: a chunk id."""
    return parse_chunk_id(bytes.fromhex(text))


def xor_of_hex(text: str) -> int:
    """For `parsed`: the XOR of chunk ids."""
    if not re.fullmatch(r"[0-9a-f]{66}", text):
        raise ValueError("not 66 hexadecimal digits")
    return int(text, 16)
