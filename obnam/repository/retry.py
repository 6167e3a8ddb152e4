"""A repository that tries again: the same interface, around another one.

Errors that say of themselves that they are ``temporary`` are met with the same request once more,
after a wait that doubles each time and is partly random, so that many clients do not come back
to a server that was restarted all at once. All methods of `IRepository` may be repeated. Chunks
may be many MiB, and go in portions if need be: `obnam.repository.portions`.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from obnam.errors import ObnamError, ServerBusy, ServerUnreachable
from obnam.model.ids import ChunkId, GenerationId, SessionId
from obnam.repository.deferring import returns_deferred
from obnam.repository.news import News
from obnam.repository.portions import Portions
from obnam.wire.damage import DamagePage
from obnam.wire.frames import Frame
from obnam.wire.interfaces import IRepository
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

T = TypeVar("T")


@frozen
class RetryPolicy:
    """How long to wait, and for how long in all (seconds).

    The default outlives a restart of the server, and a router's; a server that is down for longer
    is better told of than waited for, since the next backup sends only what is missing.
    """

    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    total_s: float = 180.0
    busy_total_s: float = 3600.0
    """The same for a server that says when to come back: it is there, and others come first."""
    counts_silence: bool = False
    """Whether the time counts, too, for which a server that says nothing was listened to."""

    def wait_s(self, tries: int, waited_s: float, error: ObnamError, chance: float) -> float | None:
        """How long to wait after ``tries`` (1, 2, …) failures, ``None``: give up.

        ``chance`` is a random number from 0 to 1: the wait is between half of the full one and
        all of it. What the server asked for (``Retry-After``) is waited for at least.
        """
        if not error.temporary:
            return None
        full = min(self.longest_wait_s, self.first_wait_s * 2 ** min(tries - 1, 30))
        wait = full * (0.5 + 0.5 * chance)
        total_s = self.total_s
        if isinstance(error, ServerBusy) and error.retry_after_s is not None:
            wait += error.retry_after_s
            total_s = max(total_s, self.busy_total_s)
        return wait if waited_s + wait <= total_s else None


@frozen
class Retried:
    """Told to the user: what failed, how often so far, and how long is waited (seconds)."""

    error: ObnamError
    tries: int
    wait_s: float


@implementer(IRepository)
class RetryingRepository:
    """Repeats what failed temporarily. ``random`` gives numbers from 0 to 1.

    ``report`` is told what failed; of several requests that failed for one reason, of one.
    """

    def __init__(
        self,
        repository: IRepository,
        clock: IReactorTime,
        random: Callable[[], float],
        report: Callable[[Retried], None],
        policy: RetryPolicy = RetryPolicy(),
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._random = random
        self._report = report
        self._policy = policy
        self._news = News()
        self._portions = Portions(repository, self._again)

    @returns_deferred
    async def _again(self, attempt: "Callable[[], Deferred[T]]") -> T:
        tries, waited_s = 0, 0.0
        while True:
            try:
                done = await attempt()
            except ObnamError as error:
                if isinstance(error, ServerUnreachable):
                    if error.whole_chunks:  # It was not in vain: what comes now is another request.
                        tries, waited_s = 0, 0.0
                    if self._policy.counts_silence:
                        waited_s += error.silent_s
                tries += 1
                wait_s = self._policy.wait_s(tries, waited_s, error, self._random())
                if wait_s is None:
                    raise
                if self._news.is_news(str(error), tries, self._clock.seconds()):
                    self._report(Retried(error, tries, wait_s))
            else:
                if tries:
                    self._news.went_through()
                return done
            waited_s += wait_s
            pause: Deferred[None] = deferLater(self._clock, wait_s)
            await pause

    def begin_session(self, base: GenerationId | None) -> "Deferred[SessionId]":
        """See `ISessions`."""
        return self._again(lambda: self._repository.begin_session(base))

    def refer(
        self, session: SessionId, added: Sequence[ChunkId], removed: Sequence[ChunkId]
    ) -> "Deferred[None]":
        """See `ISessions`."""
        return self._again(lambda: self._repository.refer(session, added, removed))

    def end_session(self, session: SessionId) -> "Deferred[None]":
        """See `ISessions`."""
        return self._again(lambda: self._repository.end_session(session))

    def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> "Deferred[Sequence[bool]]":
        """See `IChunks`."""
        return self._again(lambda: self._repository.missing(session, ids))

    def store(
        self, session: SessionId, body: memoryview, lent: Lent | None = None
    ) -> "Deferred[None]":
        """See `IChunks`."""
        return self._portions.store(session, body, lent)

    def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> "Deferred[Sequence[Frame]]":
        """See `IChunks`."""
        return self._portions.fetch(ids, into)

    def describe(self) -> "Deferred[RepositoryDescription]":
        """See `IGenerations`."""
        return self._again(self._repository.describe)

    def commit(self, session: SessionId, commit: Commit) -> "Deferred[Receipt]":
        """See `IGenerations`."""
        return self._again(lambda: self._repository.commit(session, commit))

    def list_generations(self) -> "Deferred[Sequence[ListedGeneration]]":
        """See `IGenerations`."""
        return self._again(self._repository.list_generations)

    def get_generation(self, generation: GenerationId) -> "Deferred[CommittedGeneration]":
        """See `IGenerations`."""
        return self._again(lambda: self._repository.get_generation(generation))

    def delete_generation(self, generation: GenerationId) -> "Deferred[None]":
        """See `IDecisions`."""
        return self._again(lambda: self._repository.delete_generation(generation))

    def undelete_generation(self, generation: GenerationId) -> "Deferred[None]":
        """See `IDecisions`."""
        return self._again(lambda: self._repository.undelete_generation(generation))

    def pin_generation(self, generation: GenerationId, reason: str) -> "Deferred[None]":
        """See `IDecisions`."""
        return self._again(lambda: self._repository.pin_generation(generation, reason))

    def unpin_generation(self, generation: GenerationId) -> "Deferred[None]":
        """See `IDecisions`."""
        return self._again(lambda: self._repository.unpin_generation(generation))

    def list_trash(self) -> "Deferred[Sequence[ListedGeneration]]":
        """See `IDecisions`."""
        return self._again(self._repository.list_trash)

    def damage(self, first: int) -> "Deferred[DamagePage]":
        """See `IDamage`."""
        return self._again(lambda: self._repository.damage(first))

    def get_keyring(self) -> "Deferred[Keyring]":
        """See `IKeyring`."""
        return self._again(self._repository.get_keyring)

    def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> "Deferred[Keyring]":
        """See `IKeyring`."""
        return self._again(lambda: self._repository.put_keyring(slots, etag))

    def close(self) -> "Deferred[None]":
        """See `IRepository`. Not repeated: there is nothing more to lose."""
        return self._repository.close()
