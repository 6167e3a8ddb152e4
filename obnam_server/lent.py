"""Memory that the client of an embedded server has lent it, and bodies that lie there.

It belongs to the client, which could do anything with it at any time. So nothing is taken that it
could take back: a page that is gone would be the end of this process.
"""

import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from obnam.wire.lent import MEMORIES_MAX, MEMORY_BYTES_MAX, LentPart
from obnam.wire.members import BadMessage
from obnam_server.uploads import Target
from obnam_server.work import Work

log = Logger()

PIECE_BYTES = 512 * 1024
"""So much is hashed and then written, while it is in the processor's cache."""

T = TypeVar("T", bound=Target)


class _Refused(Exception):
    """Memory that is not what it should be."""


@define
class LentMemories:
    """What was lent so far, by its number."""

    _memories: dict[int, memoryview] = field(factory=dict)

    def take(self, number: int, descriptor: int) -> bool:
        """Whether this memory will do; the descriptor is closed in any case."""
        try:
            if number in self._memories or len(self._memories) >= MEMORIES_MAX:
                raise _Refused("its number is known already, or there are too many")
            self._memories[number] = _mapped(descriptor)
        except (OSError, _Refused) as error:
            log.warn("Not taken, what the client lends: {error}", error=error)
            return False
        finally:
            os.close(descriptor)
        return True

    def view(self, part: LentPart) -> memoryview:
        """A part. `BadMessage`: there is none such."""
        memory = self._memories.get(part.number)
        if memory is None or part.offset + part.length > len(memory):
            raise BadMessage("no such memory was lent")
        return memory[part.offset : part.offset + part.length]


def _mapped(descriptor: int) -> memoryview:
    """`OSError`: it cannot be mapped, or it is not of the kind of file that can be sealed."""
    if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
        raise _Refused("it could shrink")
    size_bytes = os.fstat(descriptor).st_size
    if not 0 < size_bytes <= MEMORY_BYTES_MAX:
        raise _Refused(f"it has {size_bytes} bytes")
    return memoryview(mmap.mmap(descriptor, size_bytes, prot=mmap.PROT_READ))


@define
class LentBody(Generic[T]):
    """A body that lies in lent memory. It does what an `UploadBody` does whose body is in."""

    _begin: Callable[[], T]
    _work: Work
    _memory: memoryview

    @property
    def size_bytes(self) -> int:
        """Of the whole body."""
        return len(self._memory)

    def finished(self) -> "Deferred[T]":
        """Fires when all of it is durable in a segment not yet accepted; or nothing is left."""
        return self._work.upload(self._write)

    def give_up(self) -> None:
        """Nobody wants it. Nothing was begun."""

    def _write(self) -> T:
        upload = self._begin()
        try:
            for at in range(0, len(self._memory), PIECE_BYTES):
                upload.write([self._memory[at : at + PIECE_BYTES]])
            upload.finish()
        except BaseException:
            upload.abort()
            raise
        return upload
