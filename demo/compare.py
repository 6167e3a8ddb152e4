"""Two trees, entry by entry: are they the same in all that a backup must bring back?

Written apart from Obnam's own code, so that it does not share its mistakes.
"""

import dataclasses
import os
import stat
from collections.abc import Iterator

READ_BYTES = 1 << 20
ALL_MODES, PERMISSIONS = 0o7777, 0o777
"""With and without set-user-id and its like, which only an owner can set."""

OWN_ATTRIBUTES = ("user.", "system.posix_acl_")
"""Extended attributes that a user who is not root may set; the others are root's."""


@dataclasses.dataclass
class Comparison:
    """What was found. Paths are below the trees' tops; sizes are in bytes."""

    entries: int = 0
    files: int = 0
    size_bytes: int = 0
    links: int = 0
    attributes: int = 0
    hard_links: int = 0
    unreadable: int = 0
    differences: list[str] = dataclasses.field(default_factory=list)


def compare(live: bytes, restored: bytes, since_ns: int) -> Comparison:
    """Compare two directories and all below them; never follows links.

    Owner, and what only root can restore, is compared when this runs as root. An entry that
    this user cannot read is counted, not compared. ``since_ns``: when the first backup began
    (ns since the epoch); a difference in what was changed later is said to be that.
    """
    return _Trees(live, restored, since_ns).compare()


class _Trees:
    def __init__(self, live: bytes, restored: bytes, since_ns: int) -> None:
        self._live = live
        self._restored = restored
        self._since_ns = since_ns
        self._root = os.geteuid() == 0
        self._found = Comparison()
        self._twins: dict[tuple[int, int], tuple[int, int]] = {}

    def compare(self) -> Comparison:
        pending = [b"."]
        while pending:
            path = pending.pop()
            if self._entry(path):
                pending.extend(os.path.join(path, name) for name in self._children(path))
        return self._found

    def _entry(self, path: bytes) -> bool:
        """Compare one entry; is it a directory on both sides?"""
        live_path, restored_path = self._both(path)
        live = os.lstat(live_path)
        try:
            restored = os.lstat(restored_path)
        except FileNotFoundError:
            if self._readable(live_path, live):
                self._differs(path, live, "is not in what was restored")
            return False
        self._found.entries += 1
        if stat.S_IFMT(live.st_mode) != stat.S_IFMT(restored.st_mode):
            self._differs(path, live, "is of another kind")
            return False
        for what in self._differing(live_path, live, restored_path, restored):
            self._differs(path, live, what)
        return stat.S_ISDIR(live.st_mode)

    def _differing(
        self, live_path: bytes, live: os.stat_result, restored_path: bytes, restored: os.stat_result
    ) -> Iterator[str]:
        own = self._root or live.st_uid == os.geteuid()
        if (live.st_uid, live.st_gid) != (restored.st_uid, restored.st_gid) and own:
            yield (
                f"owner: {live.st_uid}:{live.st_gid}, restored {restored.st_uid}:{restored.st_gid}"
            )
        bits = ALL_MODES if own else PERMISSIONS
        if stat.S_ISLNK(live.st_mode):
            self._found.links += 1
            if os.readlink(live_path) != os.readlink(restored_path):
                yield "leads somewhere else"
        elif (live.st_mode ^ restored.st_mode) & bits:
            yield f"mode: {stat.filemode(live.st_mode)}, {stat.filemode(restored.st_mode)}"
        if live.st_mtime_ns != restored.st_mtime_ns:
            yield f"mtime: {live.st_mtime_ns} ns, restored {restored.st_mtime_ns} ns"
        if live.st_rdev != restored.st_rdev:
            yield "is another device"
        if self._attributes(live_path) != self._attributes(restored_path):
            yield "extended attributes"
        self._found.attributes += len(self._attributes(live_path))
        if stat.S_ISREG(live.st_mode):
            yield from self._file(live_path, live, restored_path, restored)

    def _file(
        self, live_path: bytes, live: os.stat_result, restored_path: bytes, restored: os.stat_result
    ) -> Iterator[str]:
        if not self._readable(live_path, live):
            return
        if live.st_nlink > 1:
            self._found.hard_links += 1
            here, there = (live.st_dev, live.st_ino), (restored.st_dev, restored.st_ino)
            if self._twins.setdefault(here, there) != there:
                yield "was one file under several names, and is several files now"
        if live.st_size != restored.st_size:
            yield f"size: {live.st_size}, restored {restored.st_size} bytes"
        elif not _same_content(live_path, restored_path):
            yield "content"
        self._found.files += 1
        self._found.size_bytes += live.st_size

    def _children(self, path: bytes) -> list[bytes]:
        """Names in the live directory. What only the restored one has is a difference."""
        live_path, restored_path = self._both(path)
        live = os.lstat(live_path)
        if not self._readable(live_path, live):
            return []
        names = os.listdir(live_path)
        for name in set(os.listdir(restored_path)).difference(names):
            self._differs(os.path.join(path, name), live, "was restored, but is not live data")
        return names

    def _readable(self, path: bytes, status: os.stat_result) -> bool:
        """May this user read it? Counts it if not. Links and special files always."""
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return True
        wanted = os.R_OK | os.X_OK if stat.S_ISDIR(status.st_mode) else os.R_OK
        if os.access(path, wanted):
            return True
        self._found.unreadable += 1
        return False

    def _attributes(self, path: bytes) -> dict[str, bytes]:
        try:
            names = os.listxattr(path, follow_symlinks=False)
            return {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in names
                if self._root or name.startswith(OWN_ATTRIBUTES)
            }
        except OSError:
            # The file system has none, or they are not for us to see.
            return {}

    def _both(self, path: bytes) -> tuple[bytes, bytes]:
        return (
            os.path.normpath(os.path.join(self._live, path)),
            os.path.normpath(os.path.join(self._restored, path)),
        )

    def _differs(self, path: bytes, live: os.stat_result, what: str) -> None:
        late = max(live.st_ctime_ns, live.st_mtime_ns) >= self._since_ns
        why = " (another program changed it during the demonstration)" if late else ""
        name = ascii(os.fsdecode(os.path.normpath(path)))[1:-1]
        self._found.differences.append(f"{name}: {what}{why}")


def _same_content(one: bytes, other: bytes) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        while True:
            here, there = first.read(READ_BYTES), second.read(READ_BYTES)
            if here != there:
                return False
            if not here:
                return True
