"""File operations that fail, or kill the process, at a chosen one."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field
from zope.interface import implementer

from obnam_server.store.disk.files import IFiles, LocalFiles


@implementer(IFiles)
@define
class FailingFiles:
    """The real ones; the operation number ``fail_at`` (from 0) is replaced by ``fail``.

    With ``torn``, if it is one that writes, it writes half of its bytes before that. ``done``
    counts the operations.
    """

    fail_at: int
    fail: Callable[[], None]
    torn: bool = False
    done: int = 0
    names: list[str] = field(factory=list)
    _real: LocalFiles = field(factory=LocalFiles)

    def create(self, path: Path) -> int:
        self._count("create")
        return self._real.create(path)

    def extend(self, path: Path) -> int:
        return self._real.extend(path)

    def append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        if self.torn and self.done == self.fail_at:
            whole = b"".join(pieces)
            self._real.append(descriptor, [whole[: len(whole) // 2]])
        self._count("append")
        self._real.append(descriptor, pieces)

    def append_direct(self, descriptor: int, pages: memoryview) -> None:
        self.append(descriptor, [pages])

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._count("truncate")
        self._real.truncate(descriptor, size_bytes)

    def sync(self, descriptor: int) -> None:
        self._count("sync")
        self._real.sync(descriptor)

    def close(self, descriptor: int) -> None:
        self._real.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._count("rename")
        self._real.rename(source, target)

    def remove(self, path: Path) -> None:
        self._count("remove")
        self._real.remove(path)

    def make_directory(self, path: Path) -> None:
        self._count("make_directory")
        self._real.make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._count("sync_directory")
        self._real.sync_directory(path)

    def _count(self, name: str) -> None:
        self.names.append(name)
        self.done += 1
        if self.done == self.fail_at + 1:
            self.fail()


def die() -> None:
    """End the process as a power switch does, for all that is in memory."""
    os._exit(9)
