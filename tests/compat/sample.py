"""What a sample is, for who makes and for who reads it."""

import os
import stat
from hashlib import sha256
from pathlib import Path

LIVE = Path("/srv/obnam-sample")
"""The root of each sample: generations know it by its whole path."""

REPOSITORY = "repository"
PASSPHRASE = "utterly boring"

Described = dict[str, list[object]]
"""By path: mode, link count, size, mtime in ns; then content's SHA-256 or link, attributes."""


def described(top: Path, without: str = "") -> Described:
    """All below ``top`` that comes back for any user, in what JSON can say."""
    found = {}
    for folder, directories, files in os.walk(os.fsencode(top)):
        for name in directories + files:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, os.fsencode(top))
            if name != os.fsencode(without):
                found[relative.decode("latin-1")] = _entry(path)
    return found


def _entry(path: bytes) -> list[object]:
    status = os.lstat(path)
    content = attributes = ""
    links, size = status.st_nlink, status.st_size
    if stat.S_ISDIR(status.st_mode):
        links = size = 0  # As the file system likes.
    elif stat.S_ISREG(status.st_mode):
        content = sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
        attributes = ", ".join(n for n in os.listxattr(path) if n.startswith("user."))
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path).decode("latin-1")
    return [status.st_mode, links, size, status.st_mtime_ns, content, attributes]
