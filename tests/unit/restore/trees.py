"""Trees to back up, and what must be the same when they are back."""

import os
import random
import socket
import stat
from pathlib import Path
from typing import Any

LARGE = random.Random(1).randbytes(20 << 20)
"""More than a slab: comes in parts."""


def inside(target: Path, path: Path) -> Path:
    """Where something is restored."""
    return target / path.relative_to("/")


def described(top: Path) -> dict[bytes, Any]:
    """All that a restore must bring back, by path; hard links by the paths that share a file."""
    found: dict[bytes, Any] = {}
    shared: dict[int, bytes] = {}
    paths = [os.fsencode(top)]
    while paths:
        path = paths.pop()
        status = os.lstat(path)
        name = os.path.relpath(path, os.fsencode(top))
        content: object = None
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                content = file.read()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISDIR(status.st_mode):
            paths.extend(sorted((entry.path for entry in os.scandir(path)), reverse=True))
        attributes = {
            each: os.getxattr(path, each, follow_symlinks=False)
            for each in os.listxattr(path, follow_symlinks=False)
        }
        first = shared.setdefault(status.st_ino, name)
        found[name] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            content,
            attributes,
            first,
        )
    return found


def fill(root: Path) -> None:
    """One of everything."""
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "empty").touch()
    (root / "a" / "file").write_bytes(b"hello" * 1000)
    (root / "a" / "b" / "deep").write_bytes(b"deep")
    (root / "nothing").mkdir()
    os.link(root / "a" / "file", root / "a" / "b" / "link")
    os.link(root / "a" / "file", root / "z")
    os.symlink("../nowhere", root / "symlink")
    os.mkfifo(root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "s"))
    with open(os.fsencode(root) + b"/\xff\xfe\n", "wb") as file:
        file.write(b"not UTF-8")
    with open(root / "sparse", "wb") as sparse:
        sparse.truncate(3 << 20)
        sparse.seek(1 << 20)
        sparse.write(b"middle" * 1000)
    for index in range(300):
        (root / "nothing" / f"{index:03}").write_bytes(b"%d" % index * index)
    os.setxattr(root / "a" / "file", "user.note", b"kept")
    (root / "a" / "b" / "deep").chmod(0o400)
    (root / "a" / "b").chmod(0o500)
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, ns=(1, 10**18 + number), follow_symlinks=False)
    os.utime(root, ns=(1, 10**18 - 1))
