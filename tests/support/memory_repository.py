"""The memory fake of `IRepository`: the whole contract, in dictionaries.

One `MemoryServer` holds what a server would; each client has a `MemoryRepository` on it. Tests may
look into the server's dictionaries, and change them, to play a server that lost or swapped
something.
"""

from collections.abc import Callable, Sequence
from itertools import count

from attrs import define, evolve, field, frozen
from nacl.signing import SigningKey
from zope.interface import implementer

from obnam.errors import (
    ChunksMissing,
    CommitConflict,
    GenerationKept,
    NotFound,
    RequestRefused,
    ServerMisbehaved,
    SessionLost,
)
from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    RepositoryName,
    SessionId,
    parse_session_id,
)
from obnam.repository.deferring import returns_deferred
from obnam.wire import limits
from obnam.wire.damage import (
    DAMAGE_GENERATIONS_MAX,
    DAMAGE_PAGE_MAX,
    DamagedChunk,
    DamagePage,
)
from obnam.wire.frames import FRAME_HEADER_BYTES, BadFrame, Frame, split, write_header
from obnam.wire.interfaces import IRepository
from obnam.wire.lent import Lent
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import (
    SCOPES,
    Commit,
    CommittedGeneration,
    Countersignature,
    GenerationSummary,
    Keyring,
    KeyringSlot,
    Receipt,
    RepositoryDescription,
)
from obnam.wire.receipts import NO_RECEIPT

SERVER = "memory"


@define
class MemorySession:
    """One running backup: whose, on what base, and its chunk set so far."""

    client: ClientName
    chunks: set[ChunkId]


@frozen
class MemoryGeneration:
    """One committed generation and its chunk set."""

    committed: CommittedGeneration
    chunks: frozenset[ChunkId]


def _counted_clock() -> Callable[[], int]:
    """A clock that goes on by a second each time it is looked at (ns since the epoch)."""
    seconds = count(1_800_000_000)
    return lambda: next(seconds) * 1_000_000_000


@define
class MemoryServer:
    """What a server remembers of one repository."""

    now_ns: Callable[[], int] = field(factory=_counted_clock)
    chunks: dict[ChunkId, bytes] = field(factory=dict)
    sessions: dict[SessionId, MemorySession] = field(factory=dict)
    generations: dict[GenerationId, MemoryGeneration] = field(factory=dict)
    trash: dict[GenerationId, int] = field(factory=dict)
    pins: dict[GenerationId, str] = field(factory=dict)
    slots: tuple[KeyringSlot, ...] = ()
    slots_version: int = 0
    signing_key: SigningKey = field(factory=lambda: SigningKey(bytes(range(32))))
    repository_id: bytes = bytes(range(16))
    damaged: set[ChunkId] = field(factory=set)
    quota_bytes: int | None = None
    _session_numbers: "count[int]" = field(factory=lambda: count(1))

    def client(self, name: str = "laptop") -> "MemoryRepository":
        """The repository as a client sees it."""
        return MemoryRepository(self, ClientName(name))

    def break_chunk(self, chunk_id: ChunkId) -> None:
        """Its disk loses a chunk, and the server finds out."""
        del self.chunks[chunk_id]
        self.damaged.add(chunk_id)

    def latest_of(self, client: ClientName) -> CommittedGeneration | None:
        """The newest generation of a client."""
        own = [
            g.committed for g in self.generations.values() if g.committed.summary.client == client
        ]
        return own[-1] if own else None

    def listed(self, *, trash: bool) -> list[ListedGeneration]:
        """All generations that are in the trash, or all that are not."""
        return [
            ListedGeneration(each.committed.summary, self.pins.get(key), self.trash.get(key))
            for key, each in self.generations.items()
            if (key in self.trash) == trash
        ]

    def expunge(self, generation: GenerationId) -> None:
        """Out of the trash, for good; and all chunks that nothing else needs."""
        del self.trash[generation], self.generations[generation]
        needed: set[ChunkId] = set()
        needed.update(*(each.chunks for each in self.generations.values()))
        needed.update(*(each.chunks for each in self.sessions.values()))
        self.chunks = {i: sealed for i, sealed in self.chunks.items() if i in needed}

    def newest(self) -> GenerationSummary | None:
        """The newest generation of any client."""
        every = [g.committed.summary for g in self.generations.values()]
        return every[-1] if every else None

    def countersigned(self, receipt: Receipt, client: ClientName, manifest_id: ChunkId) -> Receipt:
        """Signed, behind the newest one."""
        newest = self.newest()
        before = (
            None if newest is None else newest.receipt.statement(self.repository_id, newest.client)
        )
        previous = NO_RECEIPT if before is None else before.hash()
        unsigned = evolve(receipt, countersigned=Countersignature(previous, manifest_id, bytes(64)))
        statement = unsigned.statement(self.repository_id, client)
        assert statement is not None
        signature = self.signing_key.sign(statement.encode()).signature
        return evolve(receipt, countersigned=Countersignature(previous, manifest_id, signature))

    def new_session(self, session: MemorySession) -> SessionId:
        """Remember a session under a new id."""
        name = parse_session_id(f"{next(self._session_numbers):032x}")
        self.sessions[name] = session
        return name


@implementer(IRepository)
@define
class MemoryRepository:
    """`IRepository` for one client of a `MemoryServer`."""

    server: MemoryServer
    name: ClientName
    closed: bool = False

    @returns_deferred
    async def begin_session(self, base: GenerationId | None) -> SessionId:
        chunks = set() if base is None else set(self._generation(base).chunks)
        return self.server.new_session(MemorySession(self.name, chunks))

    @returns_deferred
    async def refer(
        self, session: SessionId, added: Sequence[ChunkId], removed: Sequence[ChunkId]
    ) -> None:
        _at_most(limits.REFERENCE_IDS_MAX, len(added) + len(removed))
        found = self._session(session)
        found.chunks.update(added)
        found.chunks.difference_update(removed)

    @returns_deferred
    async def end_session(self, session: SessionId) -> None:
        found = self.server.sessions.get(session)
        if found is not None and found.client == self.name:
            del self.server.sessions[session]

    @returns_deferred
    async def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> Sequence[bool]:
        _at_most(limits.MISSING_IDS_MAX, len(ids))
        self._session(session)
        return [chunk_id not in self.server.chunks for chunk_id in ids]

    @returns_deferred
    async def store(self, session: SessionId, body: memoryview, lent: Lent | None = None) -> None:
        _at_most(limits.UPLOAD_BODY_MAX, len(body))
        self._session(session)
        try:
            frames = list(split(body))
        except BadFrame as error:
            raise RequestRefused(SERVER, str(error)) from error
        if any(frame.length == 0 for frame in frames):
            raise RequestRefused(SERVER, "an empty sealed chunk")
        for frame in frames:
            sealed = bytes(body[frame.offset : frame.offset + frame.length])
            self.server.chunks.setdefault(frame.chunk_id, sealed)
            self.server.damaged.discard(frame.chunk_id)

    @returns_deferred
    async def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> Sequence[Frame]:
        _at_most(limits.FETCH_IDS_MAX, len(ids))
        frames, at = [], 0
        for chunk_id in ids:
            sealed = self.server.chunks.get(chunk_id, b"")
            if at + FRAME_HEADER_BYTES + len(sealed) > len(into):
                raise ServerMisbehaved(SERVER, f"frames of more than {len(into)} bytes")
            at = write_header(into, at, chunk_id, len(sealed))
            into[at : at + len(sealed)] = sealed
            frames.append(Frame(chunk_id, at, len(sealed)))
            at += len(sealed)
        return frames

    @returns_deferred
    async def describe(self) -> RepositoryDescription:
        return RepositoryDescription(
            repository=RepositoryName("memory"),
            client=self.name,
            scopes=SCOPES,
            server_time_ns=self.server.now_ns(),
            used_bytes=sum(map(len, self.server.chunks.values())),
            quota_bytes=self.server.quota_bytes,
            generation_count=len(self.server.listed(trash=False)),
            damaged_chunk_count=len(self.server.damaged),
            latest=self.server.latest_of(self.name),
            repository_id=self.server.repository_id,
            server_key=bytes(self.server.signing_key.verify_key),
            newest=self.server.newest(),
            has_chunks=bool(self.server.chunks),
        )

    @returns_deferred
    async def commit(self, session: SessionId, commit: Commit) -> Receipt:
        before = self.server.generations.get(commit.generation)
        if before is not None:
            return self._receipt_again(before.committed, commit)
        chunks = frozenset(self._session(session).chunks)
        self._check(commit, chunks)
        numbers = [g.committed.summary.receipt.sequence for g in self.server.generations.values()]
        number = max(numbers, default=0) + 1
        receipt = self.server.countersigned(
            Receipt(commit.generation, number, self.server.now_ns()), self.name, commit.manifest_id
        )
        summary = GenerationSummary(
            receipt, self.name, commit.previous, commit.partial, len(chunks)
        )
        committed = CommittedGeneration(summary, commit.manifest_id, commit.manifest)
        self.server.generations[commit.generation] = MemoryGeneration(committed, chunks)
        del self.server.sessions[session]
        return receipt

    def _receipt_again(self, committed: CommittedGeneration, commit: Commit) -> Receipt:
        summary = committed.summary
        if summary.client != self.name or committed.manifest != commit.manifest:
            raise RequestRefused(SERVER, "there is another generation with this id")
        return summary.receipt

    def _check(self, commit: Commit, chunks: frozenset[ChunkId]) -> None:
        newest = self.server.latest_of(self.name)
        latest = None if newest is None else newest.summary.receipt.generation
        if commit.previous != latest:
            raise CommitConflict(commit.previous, latest)
        if commit.chunks != SetSum().add(chunks):
            raise RequestRefused(SERVER, "count or XOR of the chunk set differ")
        absent = sorted(chunks - self.server.chunks.keys())
        if absent:
            raise ChunksMissing(len(absent), tuple(absent[: limits.COMMIT_REFUSED_IDS_MAX]))

    @returns_deferred
    async def list_generations(self) -> Sequence[ListedGeneration]:
        return self.server.listed(trash=False)

    @returns_deferred
    async def get_generation(self, generation: GenerationId) -> CommittedGeneration:
        return self._generation(generation).committed

    @returns_deferred
    async def delete_generation(self, generation: GenerationId) -> None:
        self._generation(generation)
        if generation in self.server.trash:
            return
        if generation in self.server.pins:
            raise GenerationKept(generation, f"it is pinned ({self.server.pins[generation]})")
        newest = {}
        for each in self.server.listed(trash=False):
            for partial in (each.summary.partial, True):
                newest[each.summary.client, partial] = each.generation
        if generation in newest.values():
            raise GenerationKept(generation, "it is the newest of its client")
        self.server.trash[generation] = self.server.now_ns()

    @returns_deferred
    async def undelete_generation(self, generation: GenerationId) -> None:
        self._generation(generation)
        self.server.trash.pop(generation, None)

    @returns_deferred
    async def pin_generation(self, generation: GenerationId, reason: str) -> None:
        self._generation(generation)
        if generation in self.server.trash:
            raise GenerationKept(generation, "it is in the trash")
        self.server.pins[generation] = reason

    @returns_deferred
    async def unpin_generation(self, generation: GenerationId) -> None:
        self._generation(generation)
        self.server.pins.pop(generation, None)

    @returns_deferred
    async def list_trash(self) -> Sequence[ListedGeneration]:
        return self.server.listed(trash=True)

    @returns_deferred
    async def damage(self, first: int) -> DamagePage:
        found = []
        for chunk_id in sorted(self.server.damaged)[first : first + DAMAGE_PAGE_MAX]:
            needing = [g for g, each in self.server.generations.items() if chunk_id in each.chunks]
            newest = tuple(reversed(needing))[:DAMAGE_GENERATIONS_MAX]
            if newest:
                found.append(DamagedChunk(chunk_id, newest, len(needing)))
        following = first + DAMAGE_PAGE_MAX
        more = len(self.server.damaged) > following
        return DamagePage(tuple(found), following if more else None)

    @returns_deferred
    async def get_keyring(self) -> Keyring:
        return Keyring(self.server.slots, f'"{self.server.slots_version}"')

    @returns_deferred
    async def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> Keyring:
        _at_most(limits.KEYRING_SLOTS_MAX, len(slots))
        if etag != f'"{self.server.slots_version}"':
            raise RequestRefused(SERVER, "someone else changed it meanwhile")
        self.server.slots = tuple(slots)
        self.server.slots_version += 1
        return Keyring(self.server.slots, f'"{self.server.slots_version}"')

    @returns_deferred
    async def close(self) -> None:
        self.closed = True

    def _session(self, session: SessionId) -> MemorySession:
        found = self.server.sessions.get(session)
        if found is None or found.client != self.name:
            raise SessionLost(session)
        return found

    def _generation(self, generation: GenerationId) -> MemoryGeneration:
        found = self.server.generations.get(generation)
        if found is None:
            raise NotFound(f"generation {generation}")
        return found


def rolled_back(server: MemoryServer, generations: int) -> MemoryServer:
    """A server that was restored from a copy made when it had ``generations`` generations."""
    kept = dict(list(server.generations.items())[:generations])
    trash, pins = dict(server.trash), dict(server.pins)
    return evolve(
        server,
        generations=kept,
        trash=trash,
        pins=pins,
        sessions={},
        chunks=dict(server.chunks),
    )


def _at_most(limit: int, length: int) -> None:
    if length > limit:
        raise RequestRefused(SERVER, f"{length} in one request, {limit} allowed")
