"""Databases of generations that were fetched or made here, kept for the next time. All blocks.

The directory may be deleted at any time. Nothing in it is believed: a file is used only when its
xxh3-128 is the one that the generation's signed manifest states (1 GB takes 0.1 s). That finds
damage; who can write to the user's own cache directory can do worse than craft a collision.
"""

import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from obnam.errors import naming
from obnam.generation import pages
from obnam.model.ids import GenerationId

_SUFFIX = ".sqlite"
_TEMPORARY = ".new"

_TAG = """\
Signature: 8a477f597d28d172789f06886806bc55
# Databases of generations, kept by Obnam. All of it can be fetched again.
# See https://bford.info/cachedir/
"""

LEFT_BEHIND_S = 24 * 3600.0
"""A temporary file that nobody wrote to for this long belongs to a run that was killed."""


@frozen
class GenerationCache:
    """The cached databases of one repository; ``max_bytes`` 0: none are kept.

    ``now_s``: the wall clock, s since the epoch.
    """

    directory: Path
    max_bytes: int
    now_s: Callable[[], float]

    def get(self, generation: GenerationId, checksum: bytes) -> Path | None:
        """The database of ``generation`` if it is here, with this xxh3-128; it counts as used.

        It may be removed by another run of Obnam at any time: open it, then rely on it.
        """
        path = self._path(generation)
        try:
            if pages.checksum(path) == checksum:
                now = self.now_s()
                with suppress(OSError):
                    os.utime(path, (now, now))
                return path
            path.unlink()
        except OSError:
            pass  # Not there, or not to be read, or on a disk that is read only: as good as none.
        return None

    def temporary(self) -> Path:
        """A path for a database that is being made, to be given to `put` or removed."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tag()
        return self._temporary()

    def put(self, generation: GenerationId, made: Path) -> bool:
        """Take over the finished file ``made``, which lies at a path of `temporary`.

        False, and ``made`` stays the caller's to remove, when it is too large to be kept.
        """
        if made.stat().st_size > self.max_bytes:
            return False
        now = self.now_s()
        os.utime(made, (now, now))
        made.replace(self._path(generation))
        self.prune()
        return True

    def prune(self) -> None:
        """Remove what was used longest ago until ``max_bytes`` holds, and what was left behind."""
        total = 0
        for used_s, size, path in sorted(self._files(), reverse=True):
            if path.suffix == _TEMPORARY:
                if used_s < self.now_s() - LEFT_BEHIND_S:
                    path.unlink(missing_ok=True)
                continue
            total += size
            if total > self.max_bytes:
                path.unlink(missing_ok=True)

    def _tag(self) -> None:
        """Mark the directory as a cache: in a backed up home directory it is left out.

        The databases of all generations, and the one being made, would else be in each.
        """
        tag = self.directory / "CACHEDIR.TAG"
        if not tag.exists():
            made = self._temporary()
            with naming(made):
                made.write_text(_TAG)
            made.rename(tag)

    def _temporary(self) -> Path:
        return self.directory / f"{secrets.token_hex(8)}{_TEMPORARY}"

    def _path(self, generation: GenerationId) -> Path:
        return self.directory / f"{generation}{_SUFFIX}"

    def _files(self) -> list[tuple[float, int, Path]]:
        """Last use (s since the epoch), size in bytes, and path of what is here."""
        found = []
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if entry.name.endswith((_SUFFIX, _TEMPORARY)):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, Path(entry.path)))
        except FileNotFoundError:
            return []  # Deleted meanwhile, which is always allowed.
        return found


def temporary_elsewhere() -> Path:
    """An empty file for a database where there is no cache: in ``TMPDIR``, or ``/tmp``.

    Nobody else can read it. The caller removes it. Raises ``OSError``.
    """
    descriptor, path = tempfile.mkstemp(_SUFFIX, "obnam-")
    os.close(descriptor)
    return Path(path)


def cache_directory(cache_home: Path, fingerprint: str) -> Path:
    """Where it lies: ``XDG_CACHE_HOME/obnam/FINGERPRINT``."""
    return cache_home / "obnam" / fingerprint
