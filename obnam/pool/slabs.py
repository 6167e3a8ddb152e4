"""Slabs: shared memory made once and used again and again by the client and its workers.

Plaintext and sealed bytes lie in slabs while they travel; what is pickled between processes is
only a slab's name and where in it something lies.
"""

from collections import deque
from multiprocessing.shared_memory import SharedMemory

from attrs import define, field
from twisted.internet.defer import Deferred, succeed


@define(eq=False)
class Slab:
    """One piece of shared memory, mapped in this process. ``name`` finds it in another."""

    name: str
    view: memoryview
    _memory: SharedMemory = field(repr=False)

    def remove(self) -> None:
        """Take its name away, so that the memory goes with the last process that maps it."""
        self._memory.unlink()


def _make(size_bytes: int) -> Slab:
    memory = SharedMemory(create=True, size=size_bytes)
    return Slab(memory.name, _view(memory)[:size_bytes], memory)


def _view(memory: SharedMemory) -> memoryview:
    if memory.buf is None:
        raise ValueError("the shared memory is closed")
    return memory.buf


def attach(name: str) -> Slab:
    """Map a slab that another process made."""
    # The resource tracker is shared with the maker's, which unlinks the memory in the end (and
    # the tracker does so when the maker dies): nothing to register or to take back here.
    memory = SharedMemory(name)
    return Slab(name, _view(memory), memory)


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

    def take(self) -> "Deferred[Slab]":
        """A slab, now or as soon as one is put back."""
        if self._free:
            return succeed(self._free.pop())
        if self._unmade:
            self._unmade -= 1
            slab = _make(self.size_bytes)
            self._all.append(slab)
            return succeed(slab)
        waiting: Deferred[Slab] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def put_back(self, slab: Slab) -> None:
        """Give it to the next who waits. Its bytes may change from here on."""
        if self._waiting:
            self._waiting.popleft().callback(slab)
        else:
            self._free.append(slab)

    def close(self) -> None:
        """Remove all slabs; nobody may take one any more."""
        for slab in self._all:
            slab.remove()
        self._all.clear()
        self._free.clear()
