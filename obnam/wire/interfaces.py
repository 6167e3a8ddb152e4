"""The repository as both ends see it.

The client's engine talks to `IRepository` and does not know what stands behind it. The memory
fake, the client's HTTP way and (through the server's API) the store itself keep this contract,
and one contract suite runs on them all.

Every method returns a Deferred. Every method may be repeated after a failure whose error is
``temporary``: the second time is harmless. Errors are those of `obnam.errors`; an error that is
not ``temporary`` will be the same the next time.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from obnam.model.ids import ChunkId, GenerationId, SessionId
from obnam.wire.damage import DamagePage
from obnam.wire.frames import Frame
from obnam.wire.lent import Lent
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import (
    Commit,
    CommittedGeneration,
    Keyring,
    KeyringSlot,
    Receipt,
    RepositoryDescription,
)


class ISessions(Interface):
    """Sessions: the server's memory of running backups."""

    def begin_session(base: GenerationId | None) -> "Deferred[SessionId]":
        """Begin a backup whose chunk set starts as that of ``base`` (``None``: empty).

        While the session lives, no chunk of ``base``, and none that was stored or found present
        in this session, is collected. ``NotFound`` when ``base`` is unknown.
        """

    def refer(
        session: SessionId, added: Sequence[ChunkId], removed: Sequence[ChunkId]
    ) -> "Deferred[None]":
        """Change the session's chunk set: ``base`` and all that was added, less what was removed.

        At most ``REFERENCE_IDS_MAX`` ids in both together. Adding what is in the set and removing
        what is not are harmless. A chunk may be referred to before it is stored.
        """

    def end_session(session: SessionId) -> "Deferred[None]":
        """Forget the session. An unknown one is fine."""


class IChunks(Interface):
    """Sealed chunks, in and out."""

    def missing(session: SessionId, ids: Sequence[ChunkId]) -> "Deferred[Sequence[bool]]":
        """For each of at most ``MISSING_IDS_MAX`` ids: must it be stored (again)?

        Chunks found present are protected by the session from then on.
        """

    def store(session: SessionId, body: memoryview, lent: Lent | None = None) -> "Deferred[None]":
        """Store the frames of ``body``, all of them or none, durably once the Deferred fires.

        ``body`` (at most ``UPLOAD_BODY_MAX``) stays unchanged until then. Ids that the server
        has already are fine. ``ServerFull`` when there is no room. ``lent``: where the body lies,
        if that can be lent to the server; the memory is the caller's again only if it is not
        ``in_doubt`` afterwards.
        """

    def fetch(ids: Sequence[ChunkId], into: memoryview) -> "Deferred[Sequence[Frame]]":
        """Write the sealed chunks into ``into``, and say where each lies, in the order asked.

        Absent ones have length 0. ``into`` must have room for all frames with their headers
        (each at most ``SEALED_CHUNK_MAX``), else ``ServerMisbehaved``. A ``ServerUnreachable`` says
        how many ``whole_chunks`` had come; they lie there, as frames, and are good.
        """


class IGenerations(Interface):
    """Committed generations."""

    def describe() -> "Deferred[RepositoryDescription]":
        """Who we are to the server, what we may, and the latest generation of this client."""

    def commit(session: SessionId, commit: Commit) -> "Deferred[Receipt]":
        """Make the session's chunk set a generation, all or nothing, durably.

        Refused with ``CommitConflict`` unless ``commit.previous`` is the client's latest
        generation; with ``ChunksMissing`` when a chunk of the set is not stored; with
        ``RequestRefused`` when count or XOR differ. Repeating a commit that went through gives
        its receipt again. The session ends with it.
        """

    def list_generations() -> "Deferred[Sequence[ListedGeneration]]":
        """All generations of the repository, of every client, oldest first.

        Without those in the trash.
        """

    def get_generation(generation: GenerationId) -> "Deferred[CommittedGeneration]":
        """Sealed manifest and receipt of one generation, also from the trash. ``NotFound``."""


class IDecisions(Interface):
    """What is to become of generations. Changes need the scope ``manage`` (``AccessDenied``).

    Each raises ``NotFound`` for a generation that never was, or is gone for good.
    """

    def delete_generation(generation: GenerationId) -> "Deferred[None]":
        """Put it into the trash, from where it can be had back; one that is there stays as it is.

        ``GenerationKept`` when it is pinned, its client's newest, or held.
        """

    def undelete_generation(generation: GenerationId) -> "Deferred[None]":
        """Take it out of the trash; one that is not there is fine."""

    def pin_generation(generation: GenerationId, reason: str) -> "Deferred[None]":
        """Let nothing delete it. ``reason``, at most ``PIN_REASON_MAX`` characters, is not sealed.

        It takes the place of an earlier one. ``GenerationKept`` when it is in the trash.
        """

    def unpin_generation(generation: GenerationId) -> "Deferred[None]":
        """Let it be deleted again; one that is not pinned is fine."""

    def list_trash() -> "Deferred[Sequence[ListedGeneration]]":
        """All generations in the trash, of every client, in the order of their commits.

        Any scope. ``RequestRefused`` by a server that has no trash yet.
        """


class IDamage(Interface):
    """What is damaged or lost on the server's disks."""

    def damage(first: int) -> "Deferred[DamagePage]":
        """Damaged chunks that generations need, a page of them, from the number ``first`` on.

        Begin with 0, and go on with ``next_from`` until it is ``None``. A chunk that is damaged
        is answered as missing; once it is stored again it is damaged no more.
        """


class IKeyring(Interface):
    """The slots that hold the master key, each wrapped by a passphrase."""

    def get_keyring() -> "Deferred[Keyring]":
        """All slots, and the tag that `put_keyring` wants."""

    def put_keyring(slots: Sequence[KeyringSlot], etag: str) -> "Deferred[Keyring]":
        """Replace all slots, unless someone else did since ``etag`` (``RequestRefused``)."""


class IRepository(ISessions, IChunks, IGenerations, IDecisions, IDamage, IKeyring):
    """All of it."""

    def close() -> "Deferred[None]":
        """Let go of connections and processes. The last call."""
