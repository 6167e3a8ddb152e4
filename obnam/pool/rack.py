"""A bounded number of slabs, and who waits for one. Not for workers: they do without Twisted."""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from obnam.pool.slabs import Slab, make_slab


class SlabRack:
    """A bounded number of slabs of one size; whoever wants one waits for one to come free.

    This bounds the memory of a whole backup or restore, and is its backpressure.
    """

    def __init__(self, count: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._unmade = count
        self._free: list[Slab] = []
        self._all: list[Slab] = []
        self._waiting: deque[Deferred[Slab]] = deque()
        self._taken = 0
        self.when_idle: Callable[[], None] = lambda: None
        """Called when all slabs that were taken are back."""

    def take(self) -> "Deferred[Slab]":
        """A slab, now or as soon as one is put back."""
        if self._free:
            self._taken += 1
            return succeed(self._free.pop())
        if self._unmade:
            slab = make_slab(self.size_bytes)
            self._unmade -= 1
            self._taken += 1
            self._all.append(slab)
            return succeed(slab)
        waiting: Deferred[Slab] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a slab."""
        return bool(self._waiting)

    def put_back(self, slab: Slab) -> None:
        """Give it to the next who waits. Its bytes may change from here on."""
        if self._waiting:
            self._waiting.popleft().callback(slab)
            return
        self._free.append(slab)
        self._taken -= 1
        if not self._taken:
            self.when_idle()

    def replace(self, slab: Slab) -> None:
        """Never give it to anybody again: another is made in its place, when one is wanted.

        It stays until the rack is closed.
        """
        if self._waiting:
            waiting = self._waiting.popleft()
            try:
                another = make_slab(self.size_bytes)
            except OSError:
                # Whoever waits would do so for ever.
                self._unmade += 1
                self._taken -= 1
                waiting.errback(Failure())  # type: ignore[no-untyped-call]
                return
            self._all.append(another)
            waiting.callback(another)
            return
        self._unmade += 1
        self._taken -= 1
        if not self._taken:
            self.when_idle()

    def close(self) -> None:
        """Remove all slabs; nobody may take one any more."""
        for slab in self._all:
            slab.remove()
        self._all.clear()
        self._free.clear()
