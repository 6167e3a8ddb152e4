"""A committed generation is opened: what its manifest says, the server must say, too."""

from typing import Any

import pytest
from attrs import evolve

from obnam.crypto.envelope import Compression
from obnam.crypto.names import Namer
from obnam.crypto.seal import Sealer, Suite
from obnam.errors import DamagedGeneration, ManifestLost
from obnam.generation.manifest import Manifest, encode
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ClientName, GenerationId
from obnam.repository.opening import open_generation
from obnam.wire.messages import CommittedGeneration, GenerationSummary, Receipt
from tests.unit.generation.test_manifest import KEYS, MANIFEST, SIGNER


def committed(manifest: Manifest = MANIFEST, **summary: Any) -> CommittedGeneration:
    """What a server shows that says of it what it is told to."""
    plaintext = encode(manifest, SIGNER.sign)
    manifest_id = Namer(KEYS).name(ChunkKind.MANIFEST, plaintext)
    sealer = Sealer(KEYS, Suite.XCHACHA20POLY1305, Compression(1))
    sealed = sealer.seal(ChunkKind.MANIFEST, manifest_id, plaintext)
    assert MANIFEST.previous is not None
    right = GenerationSummary(
        Receipt(MANIFEST.generation, 7, 0), MANIFEST.client, MANIFEST.previous.generation, False, 3
    )
    return CommittedGeneration(evolve(right, **summary), manifest_id, bytes(sealed))


def test_what_is_right() -> None:
    opened = open_generation(KEYS, committed())
    assert opened.manifest == MANIFEST
    assert opened.received_ns == 0


@pytest.mark.parametrize(
    "summary",
    [
        {"receipt": Receipt(GenerationId("9" * 32), 7, 0)},
        {"client": ClientName("pc")},
        {"previous": None},
        {"previous": GenerationId("9" * 32)},
        {"partial": True},
    ],
    ids=lambda summary: next(iter(summary)),
)
def test_what_the_server_says_otherwise(summary: dict[str, Any]) -> None:
    with pytest.raises(DamagedGeneration):
        open_generation(KEYS, committed(**summary))


def test_a_lost_manifest_and_a_damaged_one() -> None:
    right = committed()
    with pytest.raises(ManifestLost, match="is lost"):
        open_generation(KEYS, evolve(right, manifest=b""))
    with pytest.raises(ManifestLost, match="is damaged"):
        open_generation(KEYS, evolve(right, manifest=right.manifest[:-1]))
