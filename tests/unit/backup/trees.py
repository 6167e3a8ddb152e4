"""Trees of files that change at random, and what they are at any time."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from hypothesis import strategies as st

from obnam.live.scan import CACHE_TAG_NAME, CACHE_TAG_SIGNATURE
from obnam.model.entry import Kind, kind_of
from tests.support.reading_back import ReadBack

NAMES = [b"a", b"b", b"c", b"d e", b"\xff", "\u00fc".encode(), b"new\nline"]
SIZES = [0, 1, 1000, 127 * 1024, 128 * 1024, 400_000, 2_500_000]


@frozen
class Seen:
    """All that a backup keeps of an entry; ``same_as``: links of one file have the same number."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes | None
    target: bytes | None
    attributes: bytes | None
    same_as: int | None


def look_at(root: Path) -> dict[bytes, Seen]:
    """The tree as it is, by path."""
    seen: dict[bytes, Seen] = {}
    waiting = [bytes(root)]
    while waiting:
        path = waiting.pop()
        status = os.lstat(path)
        kind = kind_of(status.st_mode)
        is_file = kind is Kind.FILE
        value = os.getxattr(path, b"user.x", follow_symlinks=False) if has_attribute(path) else None
        seen[path] = Seen(
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            Path(os.fsdecode(path)).read_bytes() if is_file else None,
            os.readlink(path) if kind is Kind.SYMLINK else None,
            None
            if value is None
            else b"\x06" + len(value).to_bytes(4, "little") + b"user.x" + value,
            status.st_ino if is_file and status.st_nlink > 1 else None,
        )
        if kind is Kind.DIRECTORY:
            names = os.listdir(path)
            if CACHE_TAG_NAME in names and is_tag(os.path.join(path, CACHE_TAG_NAME)):
                names = [CACHE_TAG_NAME]  # of what else is there nothing is kept
            waiting.extend(os.path.join(path, name) for name in names)
    return seen


def is_tag(path: bytes) -> bool:
    """Whether nothing was changed where it matters."""
    return Path(os.fsdecode(path)).read_bytes().startswith(CACHE_TAG_SIGNATURE)


def has_attribute(path: bytes) -> bool:
    """Whether the one that we set is there."""
    return "user.x" in os.listxattr(path, follow_symlinks=False)


def as_seen(entries: dict[bytes, ReadBack]) -> dict[bytes, Seen]:
    """The same from what was read back."""
    return {
        path: Seen(
            entry.kind,
            entry.row.mode or 0,
            -1 if entry.row.uid is None else entry.row.uid,
            -1 if entry.row.gid is None else entry.row.gid,
            entry.row.mtime_ns or 0,
            entry.content,
            entry.row.target,
            entry.row.attributes,
            entry.row.inode if entry.kind is Kind.FILE and entry.row.device is not None else None,
        )
        for path, entry in entries.items()
    }


@define
class Changer:
    """Changes a tree by what hypothesis draws. Times go on by themselves: each is another."""

    root: Path
    data: st.DataObject
    _time_ns: int = 1_000_000_000_000_000_000
    _seeds: int = 0
    done: list[str] = field(factory=list)

    def change(self) -> None:
        """Do one thing."""
        actions: list[Callable[[], None]] = [
            self.write, self.write, self.write, self.write, self.grow, self.patch,
            self.make_directory, self.make_directory, self.link, self.hard_link,
            self.remove, self.remove, self.rename, self.set_mode, self.set_attribute,
            self.make_sparse, self.make_fifo, self.tag,
        ]  # fmt: skip
        action = self._pick(actions)
        self.done.append(action.__name__)
        action()

    def write(self) -> None:
        """A new file, or new content of an old one."""
        if path := self._place(stat.S_ISREG):
            path.write_bytes(self._content(self._pick(SIZES)))
            self._touch(path)

    def grow(self) -> None:
        """More at the end of a file."""
        if path := self._existing(stat.S_ISREG):
            with path.open("ab") as file:
                file.write(self._content(self._pick(SIZES[:4])))
            self._touch(path)

    def patch(self) -> None:
        """Some bytes in the middle."""
        if (path := self._existing(stat.S_ISREG)) and (size := path.stat().st_size):
            with path.open("r+b") as file:
                file.seek(self.data.draw(st.integers(0, size - 1)))
                file.write(b"patched")
            self._touch(path)

    def make_sparse(self) -> None:
        """A file with holes."""
        if path := self._place(stat.S_ISREG):
            with path.open("wb") as file:
                for at in sorted(self.data.draw(st.lists(st.integers(0, 3000), max_size=3))):
                    file.seek(at * 1024)
                    file.write(self._content(self._pick([1, 5000, 200_000])))
                file.truncate(max(file.tell(), self._pick([0, 1_000_000, 4_000_000])))
            self._touch(path)

    def make_directory(self) -> None:
        """One more."""
        if (path := self._place(None)) and not os.path.lexists(path):
            path.mkdir()

    def link(self) -> None:
        """A symbolic link, that leads anywhere."""
        if (path := self._place(None)) and not os.path.lexists(path):
            os.symlink(self._pick([b"a", b"../b", b"/nowhere", b"\xff"]), path)

    def make_fifo(self) -> None:
        """A named pipe."""
        if (path := self._place(None)) and not os.path.lexists(path):
            os.mkfifo(path)

    def hard_link(self) -> None:
        """Another name of a file."""
        old, new = self._existing(stat.S_ISREG), self._place(None)
        if old and new and not os.path.lexists(new):
            new.hardlink_to(old)

    def remove(self) -> None:
        """Anything, with all beneath it."""
        if path := self._existing(None):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def rename(self) -> None:
        """To another place, which is free."""
        old, new = self._existing(None), self._place(None)
        if old and new and not os.path.lexists(new) and old not in new.parents:
            old.rename(new)

    def set_mode(self) -> None:
        """Permissions, of what has some of its own."""
        if (path := self._existing(None)) and not path.is_symlink():
            path.chmod(self._pick([0o600, 0o755, 0o4755, 0o1777]))

    def set_attribute(self) -> None:
        """An extended attribute."""
        if (path := self._existing(None)) and (path.is_file() or path.is_dir()):
            os.setxattr(path, b"user.x", self._content(self._pick([0, 5])), follow_symlinks=True)

    def tag(self) -> None:
        """Make a directory a cache directory, or no longer."""
        tag = self._directory() / os.fsdecode(CACHE_TAG_NAME)
        if tag.parent == self.root:
            return
        if tag.exists():
            tag.unlink()
        else:
            tag.write_bytes(CACHE_TAG_SIGNATURE)

    def _pick(self, choices: list[Any]) -> Any:
        return self.data.draw(st.sampled_from(choices))

    def _content(self, length: int) -> bytes:
        self._seeds += 1
        seed = self.data.draw(st.integers(0, 3))  # often one that was there before
        return hashlib.shake_128(b"%d" % seed).digest(length)

    def _directory(self) -> Path:
        found = [Path(os.fsdecode(at)) for at, _, _ in os.walk(bytes(self.root))]
        directory: Path = self._pick(sorted(found))
        return directory

    def _place(self, may_be: Callable[[int], bool] | None) -> Path | None:
        """A place that is free, or taken by what may be written over."""
        path = self._directory() / os.fsdecode(self._pick(NAMES))
        if os.path.lexists(path) and (may_be is None or not may_be(path.lstat().st_mode)):
            return None if may_be is not None else path
        return path

    def _existing(self, what: Callable[[int], bool] | None) -> Path | None:
        found = [
            Path(os.fsdecode(os.path.join(at, name)))
            for at, directories, files in os.walk(bytes(self.root))
            for name in directories + files
        ]
        wanted = [path for path in found if what is None or what(path.lstat().st_mode)]
        return self._pick(sorted(wanted)) if wanted else None

    def _touch(self, path: Path) -> None:
        self._time_ns += 1
        os.utime(path, ns=(self._time_ns, self._time_ns))
