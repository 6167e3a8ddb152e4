"""Slabs: shared memory made once and used again and again by the client and its workers.

Plaintext and sealed bytes lie in slabs while they travel; what is pickled between processes is
only a slab's name and where in it something lies.
"""

import mmap
import os
from collections import deque
from itertools import count

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

_serial = count()
"""Descriptors' numbers are used again. A slab's name never is: workers keep what they mapped."""


@define(eq=False)
class Slab:
    """One piece of shared memory, mapped in this process. ``name`` finds it in another."""

    name: str
    view: memoryview = field(repr=False)
    _descriptor: int = field(repr=False)

    def remove(self) -> None:
        """Take its name away; the memory goes with the last process that maps it."""
        os.close(self._descriptor)


def _make(size_bytes: int) -> Slab:
    # Memory without a name in any directory: however this process ends, nothing is left behind.
    descriptor = os.memfd_create("obnam-slab", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size_bytes)
    name = f"/proc/{os.getpid()}/fd/{descriptor}#{next(_serial)}"
    return Slab(name, memoryview(mmap.mmap(descriptor, size_bytes)), descriptor)


def attach(name: str) -> memoryview:
    """Map a slab that another process made."""
    path, _, _ = name.partition("#")
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


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
