"""Waiting for one's turn: does what `turns` decides."""

from collections.abc import Iterator
from itertools import count

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from obnam.wire.problems import BUSY, TOO_MANY_REQUESTS, Problem
from obnam_server.problems import Refused
from obnam_server.sharing.turns import ANSWERS, BODIES, UPLOADS, Share, Turns, Verdict

WAIT_S = 30.0
"""How long a request waits before it is refused: well below the `SILENCE_S` after which a client
takes the server for dead."""

COME_BACK_S = 5
"""What a refused client is told to wait. It adds a random part."""


@define(eq=False)
class Queue:
    """The requests of one kind that go or wait."""

    _turns: Turns
    _clock: IReactorTime
    _waiting: dict[int, Deferred[None]] = field(init=False, factory=dict)
    _numbers: Iterator[int] = field(init=False, factory=count)

    @classmethod
    def of(cls, share: Share, clock: IReactorTime) -> "Queue":
        """An empty one."""
        return cls(Turns(share), clock)

    async def wait(self, client: str, size_bytes: int) -> int:
        """Return when a request of so many bytes may go, with its ticket: `leave` it when over.

        Raises `Refused` when too many wait, or when its turn does not come in time.
        """
        ticket = next(self._numbers)
        verdict = self._turns.ask(ticket, client, size_bytes)
        if verdict is Verdict.GO:
            return ticket
        if verdict is not Verdict.WAIT:
            raise _refused(own=verdict is Verdict.OWN_LIMIT)
        turn = self._waiting[ticket] = Deferred()
        turn.addTimeout(WAIT_S, self._clock)
        try:
            await turn
        except TimeoutError as error:
            own = self._turns.waits_for_itself(ticket)
            self.leave(ticket)
            raise _refused(own=own) from error
        except CancelledError:
            self.leave(ticket)
            raise
        return ticket

    def leave(self, ticket: int) -> None:
        """A request is over: others may go."""
        self._waiting.pop(ticket, None)
        for other in self._turns.leave(ticket):
            self._waiting.pop(other).callback(None)

    def __len__(self) -> int:
        """How many go now."""
        return self._turns.going


@define(eq=False)
class Queues:
    """All that is waited for: uploads, answers of sealed chunks, large bodies kept in memory."""

    uploads: Queue
    answers: Queue
    bodies: Queue

    @classmethod
    def empty(cls, clock: IReactorTime) -> "Queues":
        """Nobody goes, nobody waits."""
        return cls(*(Queue.of(share, clock) for share in (UPLOADS, ANSWERS, BODIES)))


def share_of_memory(all_bytes: int, sharers: int, most: int, least: int) -> int:
    """Bytes that each of ``sharers`` may keep in memory, from ``least`` to ``most``."""
    return max(least, min(most, all_bytes // max(1, sharers)))


def _refused(own: bool) -> Refused:
    problem: Problem = TOO_MANY_REQUESTS if own else BUSY
    return Refused(problem, headers={"Retry-After": str(COME_BACK_S)})
