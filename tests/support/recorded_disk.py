"""A disk that remembers all that was done to it, and every state a power failure may leave it in.

What is recorded: each operation of `IFiles`, and each committed transaction of the index. What a
power failure may do, as POSIX and SQLite (WAL) have it: of the names made, changed and removed
since the last fsync of their directory, any may be kept or lost; of the bytes written since the
last fsync of their file, all, half or none are there; of the index's transactions, those since the
last durable one may be lost, the later before the earlier. SQLite's own files are trusted to be
what SQLite says: that is what its own tests show.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, combinations
from pathlib import Path

import pytest
from attrs import define, evolve, field, frozen
from zope.interface import implementer

from obnam_server.store.disk.database import Database
from obnam_server.store.disk.files import IFiles, LocalFiles

PENDING_MAX = 6
"""Changes of names that may be kept or lost in every combination; no step of the store has more."""


@frozen
class Content:
    """A file: all its bytes, and how many of them are durable."""

    data: bytes = b""
    durable: int = 0

    def left(self, share: float) -> bytes:
        """What is there when of the bytes that are not durable only a share is."""
        return self.data[: self.durable + int(share * (len(self.data) - self.durable))]


@frozen
class NameChange:
    """One change of names: these go, these come. ``directory`` makes it durable."""

    directory: Path
    gone: tuple[Path, ...]
    come: tuple[tuple[Path, int], ...]


@frozen
class DiskState:
    """The disk at one moment. ``names``: durable ones, to inodes; ``pending``: later changes.

    ``indexes``: what the index may hold after a power failure; the last one is what it holds.
    """

    names: dict[Path, int]
    inodes: dict[int, Content]
    directories: frozenset[Path]
    pending: tuple[NameChange, ...]
    indexes: tuple[bytes, ...]

    def after_power_failure(self) -> Iterator[tuple[dict[Path, bytes], bytes]]:
        """All files (path to content) and the index, in every way that it may have ended."""
        assert len(self.pending) <= PENDING_MAX
        count = len(self.pending)
        subsets = chain.from_iterable(combinations(range(count), n) for n in range(count + 1))
        for kept in subsets:
            names = dict(self.names)
            for number in kept:
                apply(names, self.pending[number])
            for share in (1.0, 0.5, 0.0):
                files = {path: self.inodes[inode].left(share) for path, inode in names.items()}
                for index in self.indexes:
                    yield files, index

    def now(self) -> tuple[dict[Path, bytes], bytes]:
        """All files and the index, as they are when only the process dies."""
        names = dict(self.names)
        for change in self.pending:
            apply(names, change)
        return {path: self.inodes[inode].data for path, inode in names.items()}, self.indexes[-1]


def apply(names: dict[Path, int], change: NameChange) -> None:
    """Change names; one that is gone already, because its coming was lost, is fine."""
    for path in change.gone:
        names.pop(path, None)
    names.update(change.come)


@implementer(IFiles)
@define
class RecordedFiles:
    """The real operations, recorded. ``states``: the disk after each, with what was known then."""

    root: Path
    facts: object = None
    states: list[tuple[DiskState, object]] = field(factory=list)
    _state: DiskState = field(factory=lambda: DiskState({}, {}, frozenset(), (), ()))
    _paths: dict[int, int] = field(factory=dict)
    _next: int = 0
    _real: LocalFiles = field(factory=LocalFiles)

    def begin(self, index: bytes) -> None:
        """Take what is there now for durable."""
        names, inodes = {}, {}
        for path in self.root.rglob("*"):
            if path.is_file() and "sqlite" not in path.name and path.name != "lock":
                data = path.read_bytes()
                names[path] = self._next
                inodes[self._next] = Content(data, len(data))
                self._next += 1
        found = frozenset(path for path in self.root.rglob("*") if path.is_dir())
        self._note(DiskState(names, inodes, found, (), (index,)))

    def know(self, facts: object) -> None:
        """From now on the states go with these facts, the present one, too."""
        self.facts = facts
        self._note(self._state)

    def commit(self, index: bytes, durable: bool) -> None:
        """A transaction of the index was committed."""
        before = () if durable else self._state.indexes
        self._note(evolve(self._state, indexes=(*before, index)))

    def create(self, path: Path) -> int:
        descriptor = self._real.create(path)
        inode, self._next = self._next, self._next + 1
        self._paths[descriptor] = inode
        change = NameChange(path.parent, (), ((path, inode),))
        self._note(
            evolve(
                self._state,
                inodes={**self._state.inodes, inode: Content()},
                pending=(*self._state.pending, change),
            )
        )
        return descriptor

    def extend(self, path: Path) -> int:
        descriptor = self._real.extend(path)
        self._paths[descriptor] = self._inode(path)
        return descriptor

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._real.truncate(descriptor, size_bytes)
        inode = self._paths[descriptor]
        content = self._state.inodes[inode]
        cut = Content(content.data[:size_bytes], min(content.durable, size_bytes))
        self._note(evolve(self._state, inodes={**self._state.inodes, inode: cut}))

    def append(self, descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
        self._real.append(descriptor, pieces)
        inode = self._paths[descriptor]
        content = self._state.inodes[inode]
        longer = evolve(content, data=content.data + b"".join(pieces))
        self._note(evolve(self._state, inodes={**self._state.inodes, inode: longer}))

    def append_direct(self, descriptor: int, pages: memoryview) -> None:
        self.append(descriptor, [pages])

    def sync(self, descriptor: int) -> None:
        self._real.sync(descriptor)
        inode = self._paths[descriptor]
        content = self._state.inodes[inode]
        synced = evolve(content, durable=len(content.data))
        self._note(evolve(self._state, inodes={**self._state.inodes, inode: synced}))

    def close(self, descriptor: int) -> None:
        del self._paths[descriptor]
        self._real.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._real.rename(source, target)
        inode = self._inode(source)
        self._change(NameChange(target.parent, (source,), ((target, inode),)))

    def remove(self, path: Path) -> None:
        existed = path.exists()
        self._real.remove(path)
        if existed:
            self._change(NameChange(path.parent, (path,), ()))

    def make_directory(self, path: Path) -> None:
        self._real.make_directory(path)
        # Its own durability is not looked at: `sync_directory` of the one above follows, and
        # a directory that is lost takes with it names that are not durable either.
        self._note(evolve(self._state, directories=self._state.directories | {path}))

    def sync_directory(self, path: Path) -> None:
        self._real.sync_directory(path)
        names, left = dict(self._state.names), []
        for change in self._state.pending:
            if change.directory == path:
                apply(names, change)
            else:
                left.append(change)
        self._note(evolve(self._state, names=names, pending=tuple(left)))

    def _inode(self, path: Path) -> int:
        names = dict(self._state.names)
        for change in self._state.pending:
            apply(names, change)
        return names[path]

    def _change(self, change: NameChange) -> None:
        pending = self._state.pending
        if change.directory.name != "incoming":
            # A file in `incoming` means nothing, whether it is there or not: not to be multiplied.
            pending = tuple(each for each in pending if each.directory.name != "incoming")
        self._note(evolve(self._state, pending=(*pending, change)))

    def _note(self, state: DiskState) -> None:
        self._state = state
        self.states.append((state, self.facts))


def content_of(connection: sqlite3.Connection) -> bytes:
    """A database as one file."""
    copy = sqlite3.connect(":memory:")
    try:
        connection.backup(copy)
        return copy.serialize()
    finally:
        copy.close()


@contextmanager
def recorded_index(files: RecordedFiles, path: Path) -> Iterator[None]:
    """Have the transactions of the database at ``path`` recorded, too."""
    real = Database.transaction

    @contextmanager
    def transaction(self: Database, durable: bool) -> Iterator[sqlite3.Connection]:
        with real(self, durable) as connection:
            yield connection
        if self.path == path:
            files.commit(content_of(self.get()), durable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "transaction", transaction)
        yield


def lay_out(root: Path, state: DiskState, files: dict[Path, bytes], to: Path) -> Path:
    """Make a state anew elsewhere; the path that ``root`` has there."""
    for directory in sorted({root, *state.directories}):
        (to / directory.relative_to(root)).mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, data in files.items():
        there = to / path.relative_to(root)
        there.touch(mode=0o600)  # as `IFiles.create` makes them
        there.write_bytes(data)
    os.chmod(to, 0o700)
    return to


def fingerprint(files: dict[Path, bytes], index: bytes) -> bytes:
    """Tells states apart."""
    digest = hashlib.sha256(index)
    for path, data in sorted(files.items()):
        digest.update(f"{path}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.digest()
