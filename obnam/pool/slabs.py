"""Slabs: shared memory made once and used again and again by the client and its workers.

Plaintext and sealed bytes lie in slabs while they travel; what is pickled between processes is
only a slab's name and where in it something lies.
"""

import errno
import fcntl
import mmap
import os
from itertools import count

from attrs import define, field

_serial = count()
"""Descriptors' numbers are used again. A slab's name never is: workers keep what they mapped, and
a job that begins late must not take what has the number by then for its slab."""


@define(eq=False)
class Slab:
    """One piece of shared memory, mapped in this process. ``name`` finds it in another.

    ``number`` and ``descriptor``: see `obnam.wire.lent.Lent`.
    """

    name: str
    view: memoryview = field(repr=False)
    number: int
    descriptor: int = field(repr=False)

    def remove(self) -> None:
        """Take its name away; the memory goes with the last process that maps it."""
        os.close(self.descriptor)


def make_slab(size_bytes: int) -> Slab:
    """A slab of zeros."""
    # Memory without a name in any directory: however this process ends, nothing is left behind.
    descriptor = os.memfd_create("obnam-slab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    # Whoever maps it can rely on it: where memory is gone that is mapped, a process is ended.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    number = next(_serial)
    name = f"/proc/{os.getpid()}/fd/{descriptor}#{number} {_identity(descriptor)}"
    return Slab(name, memoryview(mmap.mmap(descriptor, size_bytes)), number, descriptor)


def attach(name: str) -> memoryview:
    """Map a slab that another process made. ``OSError``: it is gone."""
    path, _, which = name.partition("#")
    # Looked at before it is opened: its descriptor's number may be a file's by now, one that is
    # being backed up, and a job would write there.
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if which.partition(" ")[2] != _identity(found):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        descriptor = os.open(f"/proc/self/fd/{found}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(found)
    try:
        return memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def _identity(descriptor: int) -> str:
    status = os.fstat(descriptor)
    return f"{status.st_dev} {status.st_ino}"
