"""Whose turn it is: bytes in flight, shared fairly among clients. Decides; does nothing.

A client's first request always goes, so that neither a client with many requests nor a slow one
keeps others out; what it asks beyond that is *extra*, and bounded by bytes: for the client, and
for all together. What must wait is taken in turn, one request of each client after another.
"""

from collections import OrderedDict, deque
from enum import Enum

from attrs import define, field, frozen

from obnam.wire.limits import FETCH_BODY_MAX, JSON_BODY_MAX, MIB, UPLOAD_BODY_MAX


class Verdict(Enum):
    """What becomes of a request."""

    GO = "go"
    WAIT = "wait"
    OWN_LIMIT = "own limit"
    """Refused: too many of this client's wait already."""
    CROWDED = "crowded"
    """Refused: too many of all clients' wait already."""


@frozen
class Share:
    """How much there is to share. Bytes are those announced."""

    requests: int
    """At once, of all clients."""
    extra_bytes: int
    """Of all clients, besides each one's first request."""
    client_extra_bytes: int
    """Of one client, besides its first request."""
    least_bytes: int
    """A smaller request counts as one of this size: about what each costs anyway."""
    waiting: int
    """Requests that may wait, of all clients."""
    client_waiting: int
    """Requests that may wait, of one client."""


UPLOADS = Share(
    requests=128,
    extra_bytes=256 * MIB,
    client_extra_bytes=4 * UPLOAD_BODY_MAX,
    least_bytes=4 * MIB,
    waiting=256,
    client_waiting=16,
)
"""Uploads. A client of ours has four at once, and so never waits for its own limit."""

ANSWERS = Share(
    requests=128,
    extra_bytes=256 * MIB,
    client_extra_bytes=FETCH_BODY_MAX,
    least_bytes=4 * MIB,
    waiting=256,
    client_waiting=16,
)
"""Sealed chunks on their way out. A client of ours has five answers of 16 MiB at once."""

BODIES = Share(
    requests=64,
    extra_bytes=64 * MIB,
    client_extra_bytes=2 * JSON_BODY_MAX,
    least_bytes=MIB,
    waiting=256,
    client_waiting=16,
)
"""Large bodies that are kept in memory: references, commits, keyrings."""


@frozen
class _Request:
    ticket: int
    size_bytes: int


@define(eq=False)
class _Line:
    """One client: its first request, the bytes of the others, and those that wait."""

    first: int | None = None
    extra_bytes: int = 0
    waiting: deque[_Request] = field(factory=deque)


@define(eq=False)
class Turns:
    """All requests that go or wait. A ticket is any number that no other request has."""

    _share: Share
    _lines: dict[str, _Line] = field(init=False, factory=dict)
    _rotation: OrderedDict[str, None] = field(init=False, factory=OrderedDict)
    """Clients with requests that wait; who is in front comes next."""
    _going: dict[int, tuple[str, int]] = field(init=False, factory=dict)
    _waiting: dict[int, str] = field(init=False, factory=dict)

    @property
    def going(self) -> int:
        """Requests that go now."""
        return len(self._going)

    def ask(self, ticket: int, client: str, size_bytes: int) -> Verdict:
        """A request of ``client``, of so many bytes. When it is over, or given up: `leave`."""
        line = self._lines.setdefault(client, _Line())
        line.waiting.append(_Request(ticket, max(size_bytes, self._share.least_bytes)))
        self._rotation[client] = None
        self._waiting[ticket] = client
        if self._next():  # only this one can be: nothing else has changed
            return Verdict.GO
        if len(line.waiting) > self._share.client_waiting:
            self._drop(ticket)
            return Verdict.OWN_LIMIT
        if len(self._waiting) > self._share.waiting:
            self._drop(ticket)
            return Verdict.CROWDED
        return Verdict.WAIT

    def leave(self, ticket: int) -> list[int]:
        """A request is over, or waits no longer; those that go now instead. Unknown: none."""
        if ticket in self._going:
            client, size_bytes = self._going.pop(ticket)
            line = self._lines[client]
            if line.first == ticket:
                line.first = None
            else:
                line.extra_bytes -= size_bytes
            self._tidy(client)
        elif ticket in self._waiting:
            self._drop(ticket)
        return self._next()

    def waits_for_itself(self, ticket: int) -> bool:
        """Whether a request waits for others of its own client, rather than of all."""
        line = self._lines[self._waiting[ticket]]
        size_bytes = next(each.size_bytes for each in line.waiting if each.ticket == ticket)
        return line.waiting[0].ticket != ticket or not self._is_within_own(line, size_bytes)

    def _next(self) -> list[int]:
        going: list[int] = []
        while (client := self._whose_turn()) is not None:
            line = self._lines[client]
            request = line.waiting.popleft()
            del self._waiting[request.ticket]
            self._going[request.ticket] = (client, request.size_bytes)
            if line.first is None:
                line.first = request.ticket
            else:
                line.extra_bytes += request.size_bytes
            if line.waiting:
                self._rotation.move_to_end(client)
            else:
                del self._rotation[client]
            going.append(request.ticket)
        return going

    def _whose_turn(self) -> str | None:
        """The client whose next request goes now."""
        if len(self._going) >= self._share.requests:
            return None
        left = self._share.extra_bytes - sum(each.extra_bytes for each in self._lines.values())
        for client in self._rotation:
            line = self._lines[client]
            size_bytes = line.waiting[0].size_bytes
            if line.first is None:
                return client
            if not self._is_within_own(line, size_bytes):
                continue
            if size_bytes <= left:
                return client
            left = 0  # nobody's smaller one overtakes it: else it might wait for ever
        return None

    def _is_within_own(self, line: _Line, size_bytes: int) -> bool:
        return line.first is None or line.extra_bytes + size_bytes <= self._share.client_extra_bytes

    def _drop(self, ticket: int) -> None:
        client = self._waiting.pop(ticket)
        line = self._lines[client]
        line.waiting = deque(each for each in line.waiting if each.ticket != ticket)
        if not line.waiting:
            del self._rotation[client]
        self._tidy(client)

    def _tidy(self, client: str) -> None:
        """Forget a client of whom nothing goes or waits."""
        line = self._lines[client]
        if line.first is None and not line.extra_bytes and not line.waiting:
            del self._lines[client]
