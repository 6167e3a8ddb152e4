"""One repository's store: what the API talks to."""

from collections.abc import Iterator, Sequence

from obnam.model.ids import ChunkId, ClientName, GenerationId, SessionId
from obnam.wire.messages import (
    Commit,
    CommittedGeneration,
    GenerationSummary,
    Keyring,
    KeyringSlot,
    Receipt,
)
from obnam_server.store.interfaces import Location


class Upload:
    """One body on its way into a segment. One thread at a time; abort it or accept it."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Next pieces of the body. `obnam.wire.frames.BadFrame`, `StoreFull`."""
        raise NotImplementedError

    def finish(self) -> None:
        """End of the body: durable once this returns. `BadFrame`, `StoreFull`, `StoreFailed`."""
        raise NotImplementedError

    def abort(self) -> None:
        """Throw it away. Harmless when repeated, and after `RepositoryStore.accept`."""
        raise NotImplementedError


class RepositoryStore:
    """All of one repository. Methods marked WRITER are called from one thread only."""

    def begin_upload(self) -> Upload:
        """Any thread."""
        raise NotImplementedError

    def accept(self, session: SessionId, upload: Upload) -> None:
        """WRITER. After `Upload.finish`. `SessionLost`, `StoreFull`, `StoreFailed`."""
        raise NotImplementedError

    def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> list[bool]:
        """Any thread. Which of ``ids`` must be stored; the others are protected. `SessionLost`."""
        raise NotImplementedError

    def locate(self, ids: Sequence[ChunkId]) -> list[Location | None]:
        """Any thread."""
        raise NotImplementedError

    def read(self, location: Location) -> bytes:
        """Any thread. The sealed bytes. `DamagedSegment`."""
        raise NotImplementedError

    def frames(self, ids: Sequence[ChunkId]) -> Iterator[bytearray]:
        """Any thread. The body of an answer to fetch, in pieces of about 1 MiB (at most 4).

        Frames in the order asked; absent (or unreadable) chunks have length 0.
        """
        raise NotImplementedError

    def begin_session(self, client: ClientName, base: GenerationId | None) -> SessionId:
        """WRITER. `NotFound`."""
        raise NotImplementedError

    def refer(
        self,
        client: ClientName,
        session: SessionId,
        added: Sequence[ChunkId],
        removed: Sequence[ChunkId],
    ) -> None:
        """WRITER. `SessionLost`."""
        raise NotImplementedError

    def end_session(self, client: ClientName, session: SessionId) -> None:
        """WRITER. An unknown one is fine."""
        raise NotImplementedError

    def commit(self, client: ClientName, session: SessionId, commit: Commit) -> Receipt:
        """WRITER. `CommitConflict`, `ChunksMissing`, `SetDiffers`, `SessionLost`, `StoreFull`."""
        raise NotImplementedError

    def list_generations(self, after_sequence: int, limit: int) -> list[GenerationSummary]:
        """Any thread."""
        raise NotImplementedError

    def get_generation(self, generation: GenerationId) -> CommittedGeneration:
        """Any thread. `NotFound`, `DamagedSegment`."""
        raise NotImplementedError

    def latest(self, client: ClientName) -> CommittedGeneration | None:
        """Any thread."""
        raise NotImplementedError

    def get_keyring(self) -> Keyring:
        """Any thread."""
        raise NotImplementedError

    def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> Keyring:
        """WRITER. `KeyringChanged`."""
        raise NotImplementedError

    def used_bytes(self) -> int:
        """Any thread; of all segments."""
        raise NotImplementedError

    def generation_count(self) -> int:
        """Any thread."""
        raise NotImplementedError

    def damaged_chunk_count(self) -> int:
        """Any thread."""
        raise NotImplementedError
