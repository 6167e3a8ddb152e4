"""What the tests of live data share: odd trees, walks of all of one, and an ordinary user."""

import ctypes
import os
import pickle
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from obnam.live.apply import Missed
from obnam.live.content import write_at
from obnam.live.overwrite import Overwrite
from obnam.live.scan import Listing, Walk
from obnam.live.target import prepare_target
from obnam.live.write import Target
from obnam.model.entry import Metadata

ORDINARY_USER = 65534
ME = (os.geteuid(), os.getegid())
MTIME_NS = 1_234_567_890_123_456_789
METADATA = Metadata(0o640, *ME, MTIME_NS)
_PR_SET_DUMPABLE = 4

ODD_NAMES = [
    b"plain",
    b"two words",
    b"new\nline",
    b"\xff\xfe not UTF-8",
    "gr\u00fc\u00dfe".encode(),
    b"\x1b[31mred",
    b"-rf",
    b"~",
    b"back\\slash",
    b"x" * 255,
]


def directories_in(listing: Listing) -> list[bytes]:
    """The subdirectories in a listing."""
    return [
        name
        for name, status in zip(listing.names, listing.stats, strict=True)
        if not isinstance(status, OSError) and stat.S_ISDIR(status.st_mode)
    ]


def walk_all(root: bytes) -> list[Listing]:
    """All listings of a tree whose every directory is entered."""
    listings = []
    with Walk(root) as walk:
        for listing in walk:
            listings.append(listing)
            walk.enter(directories_in(listing))
    return listings


def make_chain(top: Path, names: list[bytes], beside: bytes | None = None) -> bytes:
    """Directories in each other, below ``top``; in each, maybe, another one beside the next."""
    at = os.open(top, os.O_RDONLY)
    for name in names:
        if beside is not None:
            os.mkdir(beside, dir_fd=at)
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    return b"/".join((os.fsencode(top), *names))


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def place_for_all() -> Iterator[Path]:
    """A temporary directory that the ordinary user can reach, and owns."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            os.chown(name, ORDINARY_USER, ORDINARY_USER)
        yield Path(name)


def as_ordinary_user(function: Callable[[], Any]) -> Any:
    """What ``function`` returns when it is no root that calls it: in a child, if we are root."""
    if os.geteuid() != 0:
        return function()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)
            os.setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)
            # Else its own /proc/self/fd would belong to root, as after no normal start.
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
            answer = pickle.dumps((function(), None))
        except BaseException:
            answer = pickle.dumps((None, traceback.format_exc()))
        with os.fdopen(writable, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        result, failure = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    if failure is not None:
        raise AssertionError(failure)
    return result


def target_at(path: Path, overwrite: Overwrite | None = None) -> Target:
    """A target, made or opened."""
    return Target.join(prepare_target(os.fsencode(path), overwrite))


def restore_file(
    target: Target,
    name: bytes,
    content: bytes = b"new",
    parts: tuple[bytes, ...] = (),
    metadata: Metadata = METADATA,
) -> Missed | None:
    """Restore a file in one go; ``None`` when what stood there was kept."""
    made = target.create(parts, name, len(content), metadata.mtime_ns)
    if made is None:
        return None
    file, descriptor = made
    write_at(descriptor, [content], 0)
    return target.finish(file, descriptor, metadata)
