"""The envelope: what is encrypted. Compression, plaintext length, payload, zero padding.

| offset | bytes | what |
|---|---|---|
| 0 | 1 | compression: 0 none, 1 zstd |
| 1 | 4 | length of the plaintext, little-endian |
| 5 | … | payload: the plaintext, or one zstd frame that states its content size |
| … | … | zeros |

See ``docs/format/chunk.md``.
"""

import struct
from enum import IntEnum
from threading import Lock

import zstandard
from attrs import frozen

from obnam.crypto.padding import padded_length, stored_length

PLAINTEXT_MAX = 64 << 20
"""Bytes; checked before anything is decompressed, so that no chunk is a bomb."""

HEADER_BYTES = 5
_HEADER = struct.Struct("<BI")

LEVEL_MIN, LEVEL_MAX = -7, 19
"""Levels of zstd that the setting takes; above 19 it wants memory out of proportion."""

_WINDOW_MAX = 1 << 27


class BadEnvelope(Exception):
    """Not an envelope. Never leaves `obnam.crypto`."""


class _Method(IntEnum):
    NONE = 0
    ZSTD = 1


@frozen
class Compression:
    """The setting ``compression``: a zstd level, or ``None`` for none."""

    level: int | None = 1

    @classmethod
    def parse(cls, text: str) -> "Compression":
        """From ``zstd:LEVEL`` (-7 to 19) or ``none``. Raises ``ValueError``."""
        if text == "none":
            return cls(None)
        name, _, level = text.partition(":")
        try:
            number = int(level)
        except ValueError:
            number = LEVEL_MIN - 1
        if name != "zstd" or level != str(number) or not LEVEL_MIN <= number <= LEVEL_MAX:
            raise ValueError(
                f"{text!r} is no compression; use 'none', or 'zstd:LEVEL' "
                f"with a level from {LEVEL_MIN} to {LEVEL_MAX}"
            )
        return cls(number)

    def __str__(self) -> str:
        return "none" if self.level is None else f"zstd:{self.level}"


def length_max(plaintext_length: int) -> int:
    """Upper bound of the envelope of so long a plaintext, in bytes."""
    return stored_length(HEADER_BYTES + plaintext_length)


class Packer:
    """Writes envelopes. Keeps one compressor; safe to share between threads."""

    def __init__(self, compression: Compression) -> None:
        self._lock = Lock()  # a compressor's state is one call's at a time
        self._compressor = (
            None
            if compression.level is None
            else zstandard.ZstdCompressor(level=compression.level, write_content_size=True)
        )

    def pack_into(self, plaintext: bytes | bytearray | memoryview, area: memoryview) -> int:
        """Write the envelope of ``plaintext`` at the start of ``area``; its padded length.

        ``area`` has `length_max` bytes at least. Compressed data is used when the padded
        envelope is shorter than with the data as it is.
        """
        length = len(plaintext)
        if length > PLAINTEXT_MAX:
            raise ValueError(f"a chunk of {length} bytes is larger than {PLAINTEXT_MAX}")
        method, payload, total = _Method.NONE, plaintext, stored_length(HEADER_BYTES + length)
        if self._compressor is not None and length:
            with self._lock:
                compressed = self._compressor.compress(plaintext)
            shorter = padded_length(HEADER_BYTES + len(compressed))
            if shorter < total:
                method, payload, total = _Method.ZSTD, compressed, shorter
        _HEADER.pack_into(area, 0, method, length)
        end = HEADER_BYTES + len(payload)
        area[HEADER_BYTES:end] = payload
        area[end:total] = bytes(total - end)
        return total


class Unpacker:
    """Reads envelopes. Keeps one decompressor; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()  # a decompressor's state is one call's at a time
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)

    def unpack(self, envelope: memoryview) -> bytes | memoryview:
        """The plaintext of an envelope. Raises `BadEnvelope`.

        Where it is stored as it is, it stays in the envelope's memory. Any amount of padding is
        accepted, but it must be zeros.
        """
        if len(envelope) < HEADER_BYTES:
            raise BadEnvelope("too short")
        method, length = _HEADER.unpack_from(envelope)
        if length > PLAINTEXT_MAX:
            raise BadEnvelope("plaintext too long")
        body = envelope[HEADER_BYTES:]
        if method == _Method.NONE:
            if len(body) < length:
                raise BadEnvelope("cut short")
            _check_padding(body[length:])
            return body[:length]
        if method == _Method.ZSTD:
            return self._decompressed(body, length)
        raise BadEnvelope("unknown compression")

    def _decompressed(self, body: memoryview, length: int) -> bytes:
        try:
            stated = zstandard.get_frame_parameters(body)
            # libzstd gives no byte more than the content size that the frame states
            if stated.content_size != length:
                raise BadEnvelope("length differs from the frame's")
            with self._lock:
                frame = self._decompressor.decompressobj(write_size=max(length, 1))
                plaintext = frame.decompress(body)
        except zstandard.ZstdError as error:
            raise BadEnvelope("zstd") from error
        if len(plaintext) != length or not frame.eof:
            raise BadEnvelope("cut short")
        _check_padding(frame.unused_data)
        return plaintext


def _check_padding(padding: bytes | memoryview) -> None:
    if bytes(padding) != bytes(len(padding)):
        raise BadEnvelope("padding is not zeros")
