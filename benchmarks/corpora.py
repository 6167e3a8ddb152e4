"""The trees that are backed up: built once from what the machine has, then kept and used again.

| name | what |
|---|---|
| ``small`` | 113,600 files of at most 4 MiB from installed Python and system trees; their links |
| ``tars`` | three tars of subtrees of /usr, 688 MB each |
| ``media`` | 33 files of random bytes, 1 GB together |
| ``files-N`` | N files of 100 to 2,000 bytes that compress but do not repeat |
"""

import dataclasses
import itertools
import json
import os
import random
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

SMALL_FILES = 113_600
SMALL_FILE_BYTES = 4 << 20
TAR_BYTES = 688_000_000
MEDIA_FILES = 33
MEDIA_BYTES = 1_000_000_000
FILES_PER_DIRECTORY = 1000
READ_BYTES = 1 << 20

# Obnam stores a directory with this file without its contents, so a corpus has none.
CACHE_TAG = "CACHEDIR.TAG"


@dataclasses.dataclass(frozen=True)
class Corpus:
    """One tree to back up, as it was built."""

    name: str
    root: Path
    files: int
    links: int
    size_bytes: int

    @property
    def changed_share(self) -> float:
        """Share of the files that a change touches: all of them where there are only a few."""
        return 1.0 if self.files < 100 else 0.01


def corpus(name: str, directory: Path) -> Corpus:
    """Build the named corpus below `directory`, unless it stands there unchanged.

    Raises ValueError for a name that is none.
    """
    build = _builder(name)
    root = directory / name
    record = record_path(root)
    if not record.exists():
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(parents=True)
        build(root)
        record.write_text(json.dumps(_count(root)))
    return Corpus(name=name, root=root, **json.loads(record.read_text()))


def record_path(root: Path) -> Path:
    """The file that says that the corpus at `root` is whole and as it was built."""
    return root.with_name(f"{root.name}.json")


def regular_files(root: Path) -> list[Path]:
    """All regular files below `root`, in the same order at every call."""
    return [path for path, status in _entries(root) if stat.S_ISREG(status.st_mode)]


def first_difference(expected: Path, actual: Path) -> str | None:
    """Name the first entry that differs in kind, content, link target, mode or mtime, if any."""
    wanted = {path.relative_to(expected): status for path, status in _entries(expected)}
    found = {path.relative_to(actual): status for path, status in _entries(actual)}
    odd = wanted.keys() ^ found.keys()
    if odd:
        return f"{min(odd)}: only on one side"
    for name, status in wanted.items():
        other = found[name]
        if (status.st_mode, status.st_mtime_ns) != (other.st_mode, other.st_mtime_ns):
            return f"{name}: mode or mtime differ"
        if (
            stat.S_ISLNK(status.st_mode)
            and (expected / name).readlink() != (actual / name).readlink()
        ):
            return f"{name}: link targets differ"
        if stat.S_ISREG(status.st_mode) and not _same_content(expected / name, actual / name):
            return f"{name}: contents differ"
    return None


def _builder(name: str) -> Callable[[Path], None]:
    kind, _, number = name.partition("-")
    if kind == "files" and number.isdecimal():
        return lambda root: _build_files(root, int(number))
    builders = {"small": _build_small, "tars": _build_tars, "media": _build_media}
    if name not in builders:
        raise ValueError(f"no corpus is called {name}: take small, tars, media or files-NUMBER")
    return builders[name]


def _build_small(root: Path) -> None:
    sources = [
        *sorted(Path("/usr/lib").glob("python3*")),
        *map(Path, ("/usr/include", "/usr/share")),
        Path.home() / ".pyenv",
        *map(Path, ("/usr/local", "/usr/lib")),
    ]
    files = 0
    for path, status in itertools.chain.from_iterable(map(_entries, sources)):
        link = stat.S_ISLNK(status.st_mode)
        small = stat.S_ISREG(status.st_mode) and status.st_size <= SMALL_FILE_BYTES
        target = root / path.relative_to("/")
        if not (link or small) or path.name == CACHE_TAG or os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if _copy(path, target) and small:
            files += 1
            if files == SMALL_FILES:
                return


def _build_tars(root: Path) -> None:
    libraries = sorted(Path("/usr/lib").glob("*-linux-gnu*"))
    documents = [Path("/usr/share"), Path("/usr/include")]
    programs = [Path("/usr/local"), Path("/usr/bin"), Path("/usr/lib")]
    for name, sources in (("lib", libraries), ("share", documents), ("bin", programs)):
        with tarfile.open(root / f"{name}.tar", "w") as tar:
            for path, status in itertools.chain.from_iterable(map(_entries, sources)):
                if tar.offset + status.st_size <= TAR_BYTES and os.access(path, os.R_OK):
                    tar.add(path, recursive=False)


def _build_media(root: Path) -> None:
    source = random.Random("media")
    parts = MEDIA_FILES * (MEDIA_FILES + 1) // 2
    for number in range(1, MEDIA_FILES + 1):
        (root / f"{number:02}.bin").write_bytes(source.randbytes(MEDIA_BYTES * number // parts))


def _build_files(root: Path, files: int) -> None:
    source = random.Random("files")
    for number in range(files):
        directory = root / f"{number // FILES_PER_DIRECTORY:05}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir()
        text = source.randbytes(source.randrange(50, 1000)).hex()
        (directory / f"{number % FILES_PER_DIRECTORY:03}.txt").write_text(text)


def _copy(path: Path, target: Path) -> bool:
    try:
        shutil.copy2(path, target, follow_symlinks=False)
    except PermissionError:
        return False
    return True


def _entries(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield everything below `root` with its lstat, sorted, following no links."""
    for directory, subdirectories, names in os.walk(root):
        subdirectories.sort()
        for name in sorted((*subdirectories, *names)):
            path = Path(directory, name)
            yield path, path.lstat()


def _count(root: Path) -> dict[str, int]:
    statuses = [status for _, status in _entries(root)]
    regular = [status for status in statuses if stat.S_ISREG(status.st_mode)]
    return {
        "files": len(regular),
        "links": sum(stat.S_ISLNK(status.st_mode) for status in statuses),
        "size_bytes": sum(status.st_size for status in regular),
    }


def _same_content(one: Path, other: Path) -> bool:
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while piece := left.read(READ_BYTES):
            if piece != right.read(READ_BYTES):
                return False
        return not right.read(1)
