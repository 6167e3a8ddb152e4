"""Generations as the server keeps them, opened: manifests checked, databases brought here."""

import os
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from obnam.crypto.seal import Opener, sealed_length_max
from obnam.errors import DamagedGeneration, SealBroken
from obnam.generation import manifest as manifests
from obnam.generation import pages
from obnam.generation.manifest import Manifest
from obnam.generation.pagemap import CHUNK_PAGES, PageMap
from obnam.generation.schema import PAGE_BYTES
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId
from obnam.repository import trust
from obnam.repository.cache import GenerationCache
from obnam.wire.frames import FRAME_HEADER_BYTES, Frame
from obnam.wire.interfaces import IChunks
from obnam.wire.messages import CommittedGeneration

FETCH_CHUNKS = 8
"""Page chunks (1 MiB each) fetched at once."""


@frozen
class OpenedGeneration:
    """A committed generation whose manifest was opened and whose signature is right."""

    manifest: Manifest
    manifest_id: ChunkId
    received_ns: int

    def shown(self) -> trust.Shown:
        """As the check of the client's history wants it."""
        previous = self.manifest.previous
        return trust.Shown(
            self.manifest.client,
            trust.Link(self.manifest.sequence, self.manifest.generation, self.manifest_id),
            None if previous is None else (previous.generation, previous.manifest_id),
        )


def open_generation(
    opener: Opener, keys: RepositoryKeys, committed: CommittedGeneration
) -> OpenedGeneration:
    """Open and check the manifest of a generation. Raises ``DamagedGeneration``.

    The manifest must be of the generation and client that the server says, and be signed.
    """
