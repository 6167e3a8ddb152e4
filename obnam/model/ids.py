"""One type per id, so that a chunk's name never stands where a generation's is wanted.

They are ``NewType``s: checked by mypy, free at run time. Outside data becomes one of them only
through the ``parse_`` functions here.
"""

import re
from typing import NewType

ChunkId = NewType("ChunkId", bytes)
"""The client's name for a chunk: 1 byte algorithm and 32 bytes keyed hash of the plaintext."""

GenerationId = NewType("GenerationId", str)
"""128 random bits as 32 lower-case hexadecimal digits."""

SessionId = NewType("SessionId", str)
"""The server's name for one running backup: 32 lower-case hexadecimal digits."""

ClientName = NewType("ClientName", str)
"""The name under which an administrator enrolled a computer."""

RepositoryName = NewType("RepositoryName", str)
"""The name of one deduplication domain on a server."""

CHUNK_ID_BYTES = 33
CHUNK_ID_BLAKE3_KEYED = 0x01
"""The only algorithm of chunk ids there is: BLAKE3 keyed mode, 32 bytes."""

_HEX_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def parse_chunk_id(data: bytes) -> ChunkId:
    """Check the length (33 bytes) and the algorithm byte. Raises ``ValueError``."""
    if len(data) != CHUNK_ID_BYTES or data[0] != CHUNK_ID_BLAKE3_KEYED:
        raise ValueError("not a chunk id")
    return ChunkId(bytes(data))


def parse_generation_id(text: str) -> GenerationId:
    """Check that it is 32 lower-case hexadecimal digits. Raises ``ValueError``."""
    if not _HEX_ID.fullmatch(text):
        raise ValueError("not a generation id")
    return GenerationId(text)


def parse_session_id(text: str) -> SessionId:
    """Check that it is 32 lower-case hexadecimal digits. Raises ``ValueError``."""
    if not _HEX_ID.fullmatch(text):
        raise ValueError("not a session id")
    return SessionId(text)


def parse_client_name(text: str) -> ClientName:
    """Lower-case letters, digits, ``.``, ``_``, ``-``; at most 63. Raises ``ValueError``."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a name has 1 to 63 lower-case letters, digits, '.', '_' or '-', "
            "and starts with a letter or digit"
        )
    return ClientName(text)


def parse_repository_name(text: str) -> RepositoryName:
    """The same rule as for client names. Raises ``ValueError``."""
    return RepositoryName(parse_client_name(text))
