"""What the scan saw, written into a new place and scanned again, is the same."""

import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from obnam.live.content import write_at
from obnam.live.metadata import read_attributes_at, read_link
from obnam.live.read import data_ranges, open_with_status, read_into
from obnam.live.scan import Walk
from obnam.live.target import prepare_target
from obnam.live.write import Target
from obnam.model.entry import Attributes, Kind, Metadata, kind_of
from tests.unit.live.trees import ME

PAGE = 4096


class Made(NamedTuple):
    """An entry to be made: content, link target, names below it; and its metadata."""

    kind: Kind
    content: bytes
    hole_pages: int
    below: dict[bytes, "Made"]
    mode: int
    mtime_ns: int


class Seen(NamedTuple):
    """What a scan says of an entry, and reads of it."""

    kind: Kind
    metadata: Metadata
    size: int
    content: tuple[tuple[int, bytes], ...]
    target: bytes


names = st.binary(min_size=1, max_size=20).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)
# Owners can read and search what is theirs; anything else would need root.
modes = st.integers(0, 0o7777).map(lambda mode: mode | 0o700)
times = st.integers(-(2**31) * 10**9, 2**33 * 10**9)
leaves = st.builds(
    Made,
    st.sampled_from([Kind.FILE, Kind.FILE, Kind.SYMLINK, Kind.FIFO, Kind.SOCKET]),
    st.binary(min_size=1, max_size=50).filter(lambda content: b"\0" not in content),
    st.integers(0, 3),
    st.just({}),
    modes,
    times,
)
trees = st.recursive(
    st.dictionaries(names, leaves, max_size=4),
    lambda below: st.dictionaries(
        names,
        leaves
        | st.builds(Made, st.just(Kind.DIRECTORY), st.just(b""), st.just(0), below, modes, times),
        max_size=4,
    ),
    max_leaves=12,
)


def _build(directory: int, tree: dict[bytes, Made]) -> None:
    for name, made in tree.items():
        if made.kind is Kind.DIRECTORY:
            os.mkdir(name, dir_fd=directory)
            inside = os.open(name, os.O_RDONLY, dir_fd=directory)
            _build(inside, made.below)
            os.close(inside)
        elif made.kind is Kind.SYMLINK:
            os.symlink(made.content, name, dir_fd=directory)
        elif made.kind is Kind.FILE:
            file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
            os.pwrite(file, made.content, made.hole_pages * PAGE)
            os.ftruncate(file, made.hole_pages * 2 * PAGE + len(made.content))
            os.close(file)
        else:
            form = stat.S_IFIFO if made.kind is Kind.FIFO else stat.S_IFSOCK
            os.mknod(name, form | 0o600, dir_fd=directory)
        if made.kind is not Kind.SYMLINK:
            os.chmod(name, made.mode, dir_fd=directory)
        os.utime(name, ns=(0, made.mtime_ns), dir_fd=directory, follow_symlinks=False)


def _see(root: Path) -> dict[tuple[bytes, ...], Seen]:
    seen: dict[tuple[bytes, ...], Seen] = {}
    with Walk(os.fsencode(root)) as walk:
        for listing in walk:
            assert listing.error is None
            above = tuple(filter(None, listing.path.removeprefix(walk.root).split(b"/")))
            for name, status in zip(listing.names, listing.stats, strict=True):
                assert not isinstance(status, OSError)
                kind = kind_of(status.st_mode)
                attributes = read_attributes_at(listing.descriptor, name)
                seen[(*above, name)] = _seen(listing.descriptor, name, kind, status, attributes)
                if kind is Kind.DIRECTORY:
                    walk.enter([name])
    return seen


def _seen(
    directory: int, name: bytes, kind: Kind, status: os.stat_result, attributes: Attributes
) -> Seen:
    mode = stat.S_IMODE(status.st_mode)
    metadata = Metadata(mode, status.st_uid, status.st_gid, status.st_mtime_ns, attributes)
    if kind is Kind.SYMLINK:
        return Seen(kind, metadata, 0, (), read_link(directory, name))
    if kind is not Kind.FILE:
        return Seen(kind, metadata, 0, (), b"")
    content = []
    descriptor, status = open_with_status(name, directory, (status.st_dev, status.st_ino))
    for offset, length in data_ranges(descriptor, status.st_size):
        room = bytearray(length)
        assert read_into(descriptor, memoryview(room), offset) == length
        content.append((offset, bytes(room)))
    os.close(descriptor)
    return Seen(kind, metadata, status.st_size, tuple(content), b"")


def _write(seen: dict[tuple[bytes, ...], Seen], root: Path) -> None:
    with Target.join(prepare_target(os.fsencode(root))) as target:
        for (*above, name), entry in seen.items():
            parts = tuple(above)
            if entry.kind is Kind.DIRECTORY:
                target.make_directory((*parts, name))
            elif entry.kind is Kind.SYMLINK:
                target.make_symlink(parts, name, entry.target, entry.metadata)
            elif entry.kind is Kind.FILE:
                made = target.create(parts, name, entry.size, entry.metadata.mtime_ns)
                assert made is not None
                for offset, data in entry.content:
                    write_at(made[1], [data], offset)
                target.finish(*made, entry.metadata, size=entry.size)
            else:
                target.make_special(parts, name, entry.kind, entry.metadata)
        for parts in sorted(seen, reverse=True):
            if seen[parts].kind is Kind.DIRECTORY:
                target.finish_directory(parts, seen[parts].metadata)


@settings(max_examples=60)
@given(trees)
def test_scan_write_scan(tree: dict[bytes, Made]) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "live").mkdir()
        directory = os.open(Path(place) / "live", os.O_RDONLY)
        _build(directory, tree)
        os.close(directory)
        seen = _see(Path(place) / "live")
        _write(seen, Path(place) / "restored")

        assert _see(Path(place) / "restored") == seen
        assert all(entry.metadata.uid == ME[0] for entry in seen.values())
        assert len(seen) == _count(tree)


def _count(tree: dict[bytes, Made]) -> int:
    return sum(1 + _count(made.below) for made in tree.values())
