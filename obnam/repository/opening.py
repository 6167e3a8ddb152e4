"""A committed generation opened: its manifest, and whether that is what the server says it is."""

from attrs import frozen

from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Opener
from obnam.errors import DamagedGeneration, ManifestLost, SealBroken
from obnam.generation import manifest as manifests
from obnam.generation.manifest import Manifest
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId
from obnam.repository import trust
from obnam.wire.messages import CommittedGeneration, Receipt


@frozen
class OpenedGeneration:
    """A committed generation whose manifest was opened, and whose signature is right."""

    manifest: Manifest
    manifest_id: ChunkId
    receipt: Receipt

    @property
    def received_ns(self) -> int:
        """When the server received it (ns since the epoch)."""
        return self.receipt.received_ns

    def shown(self) -> trust.Shown:
        """As the check of the client's history wants it."""
        previous = self.manifest.previous
        return trust.Shown(
            self.manifest.client,
            trust.Link(self.manifest.sequence, self.manifest.generation, self.manifest_id),
            None if previous is None else (previous.generation, previous.manifest_id),
        )


def open_generation(keys: RepositoryKeys, committed: CommittedGeneration) -> OpenedGeneration:
    """Open and check a manifest.

    It must be signed, and say of the generation what the server says. Raises
    ``DamagedGeneration``, or ``UnknownFormat``.
    """
    from obnam.crypto.signing import Signer  # slow to import, and not always needed

    generation = committed.summary.receipt.generation
    if not committed.manifest:
        raise ManifestLost(generation, "its manifest is lost on the server")
    try:
        plaintext = Opener(keys).open(ChunkKind.MANIFEST, committed.manifest_id, committed.manifest)
        manifest = manifests.decode(plaintext, Signer(keys).verify)
    except (SealBroken, ValueError) as error:
        raise ManifestLost(generation, f"its manifest is damaged: {error}") from error
    if (manifest.generation, manifest.client) != (generation, committed.summary.client):
        raise DamagedGeneration(
            generation,
            f"the server shows another manifest for it: of {manifest.generation}, "
            f"client {manifest.client}",
        )
    previous = None if manifest.previous is None else manifest.previous.generation
    if (manifest.partial, previous) != (committed.summary.partial, committed.summary.previous):
        raise DamagedGeneration(generation, "the server does not say of it what its manifest says")
    return OpenedGeneration(manifest, committed.manifest_id, committed.summary.receipt)
