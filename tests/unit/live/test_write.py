import errno
import os
import pickle
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam.errors import HostileEntry
from obnam.live.apply import NOTHING_MISSED, Missed
from obnam.live.content import write_at
from obnam.live.write import Target
from obnam.model.entry import Kind, Metadata
from obnam.open_files import DIRECTORIES_MOST
from tests.unit.live.trees import (
    ME,
    METADATA,
    MTIME_NS,
    ODD_NAMES,
    as_ordinary_user,
    open_descriptors,
    place_for_all,
    restore_file,
    target_at,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_a_file_is_written_with_its_metadata(target: Target, path: Path) -> None:
    target.make_directory((b"a",))
    target.make_directory((b"a", b"b"))

    assert restore_file(target, b"file", b"content", (b"a", b"b")) is NOTHING_MISSED

    written = path / "a" / "b" / "file"
    assert written.read_bytes() == b"content"
    assert written.stat().st_mtime_ns == MTIME_NS
    assert stat.S_IMODE(written.stat().st_mode) == 0o640


def test_nobody_else_sees_a_file_before_it_is_finished(target: Target, path: Path) -> None:
    made = target.create((), b"file", 3, 0)
    assert made is not None
    target.make_directory((b"d",))

    assert stat.S_IMODE((path / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE((path / "d").stat().st_mode) == 0o700
    target.abandon(*made)


def test_odd_names(target: Target, path: Path) -> None:
    for name in ODD_NAMES:
        target.make_directory((name,))
        restore_file(target, name, name, (name,))

    for name in ODD_NAMES:
        assert Path(os.path.join(os.fsencode(path).decode(), os.fsdecode(name))).is_dir()
        with open(os.path.join(os.fsencode(path), name, name), "rb") as file:
            assert file.read() == name


def test_directories_get_their_metadata_last(target: Target, path: Path) -> None:
    target.make_directory((b"d",))
    restore_file(target, b"file", parts=(b"d",))
    assert target.finish_directory((b"d",), Metadata(0o3555, *ME, MTIME_NS)) is NOTHING_MISSED

    status = (path / "d").stat()
    assert stat.S_IMODE(status.st_mode) == 0o3555
    assert status.st_mtime_ns == MTIME_NS


def test_making_a_directory_again_is_fine(target: Target) -> None:
    assert target.make_directory((b"d",))
    assert not target.make_directory((b"d",))


def test_paths_may_be_longer_than_path_max_and_descriptors_are_bounded(
    target: Target, path: Path
) -> None:
    before = open_descriptors()
    parts: tuple[bytes, ...] = ()
    for _ in range(DIRECTORIES_MOST + 50):
        parts = (*parts, b"n" * 40)
        target.make_directory(parts)
    restore_file(target, b"file", b"deep", parts)
    # All the way down again from the target, because the first are closed by now.
    for depth in range(1, DIRECTORIES_MOST + 5):
        target.make_directory((b"other%d" % depth,))
        target.directory((b"other%d" % depth,))
    restore_file(target, b"again", b"deep", parts)
    assert target.make_link((), b"link", parts, b"file")
    assert target.make_link(parts, b"back", (), b"link")

    assert open_descriptors() - before <= DIRECTORIES_MOST
    assert sorted(os.listdir(target.directory(parts))) == ["again", "back", "file"]
    assert (path / "link").read_bytes() == b"deep"
    assert (path / "link").stat().st_nlink == 3


@pytest.mark.parametrize("leads_to", [*ODD_NAMES, b"/etc/passwd", b"../../..", b"t" * 4095])
def test_links_lead_anywhere_and_have_an_owner_and_times(
    target: Target, path: Path, leads_to: bytes
) -> None:
    missed = target.make_symlink((), b"link", leads_to, Metadata(0o777, *ME, MTIME_NS))

    assert missed is NOTHING_MISSED
    assert os.readlink(os.fsencode(path / "link")) == leads_to
    assert os.lstat(path / "link").st_mtime_ns == MTIME_NS


@pytest.mark.parametrize("leads_to", [b"", b"a\0b"])
def test_links_that_cannot_be_are_refused(target: Target, leads_to: bytes) -> None:
    with pytest.raises(HostileEntry):
        target.make_symlink((), b"link", leads_to, METADATA)


@needs_root
@pytest.mark.parametrize("hands_down", [False, True])
def test_files_of_one_directory_get_each_its_own_owner(
    target: Target, path: Path, hands_down: bool
) -> None:
    parts = (b"d",)
    target.make_directory(parts)
    if hands_down:  # What is made in it has its group, whoever makes it.
        os.chown(path / "d", 0, 4321)
        os.chmod(path / "d", 0o2700)
    owners = [(0, 0), (1234, 5678), (0, 4321), (0, 0), (1234, 4321)]
    for nth, (uid, gid) in enumerate(owners):
        metadata = Metadata(0o644, uid, gid, MTIME_NS)
        assert target.write_file(parts, b"%d" % nth, b"content", metadata) is NOTHING_MISSED
    target.write_file((), b"beside", b"content", Metadata(0o644, 0, 0, MTIME_NS))

    found = [os.stat(path / "d" / str(nth)) for nth in range(len(owners))]
    assert [(status.st_uid, status.st_gid) for status in found] == owners
    assert (path / "beside").stat().st_gid == 0


@needs_root
def test_links_get_their_owner(target: Target, path: Path) -> None:
    target.make_symlink((), b"link", b"nowhere", Metadata(0o777, 1234, 5678, 0))
    status = os.lstat(path / "link")
    assert (status.st_uid, status.st_gid) == (1234, 5678)
    target.make_symlink((), b"ours", b"nowhere", Metadata(0o777, *ME, 0))
    status = os.lstat(path / "ours")
    assert (status.st_uid, status.st_gid) == ME


@pytest.mark.parametrize(
    ("kind", "is_it"), [(Kind.FIFO, stat.S_ISFIFO), (Kind.SOCKET, stat.S_ISSOCK)]
)
def test_fifos_and_sockets(
    target: Target, path: Path, kind: Kind, is_it: Callable[[int], bool]
) -> None:
    assert target.make_special((), b"special", kind, METADATA) is NOTHING_MISSED

    status = os.lstat(path / "special")
    assert is_it(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_mtime_ns == MTIME_NS


@needs_root
@pytest.mark.parametrize(
    ("kind", "is_it"),
    [(Kind.CHARACTER_DEVICE, stat.S_ISCHR), (Kind.BLOCK_DEVICE, stat.S_ISBLK)],
)
def test_device_nodes(target: Target, path: Path, kind: Kind, is_it: Callable[[int], bool]) -> None:
    try:
        target.make_special((), b"device", kind, METADATA, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this root may not make device nodes")

    status = os.lstat(path / "device")
    assert is_it(status.st_mode)
    assert status.st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE(status.st_mode) == 0o640


def test_ordinary_users_make_no_device_nodes() -> None:
    with place_for_all() as place:

        def make() -> str:
            with target_at(place / "target") as target:
                try:
                    target.make_special((), b"d", Kind.BLOCK_DEVICE, METADATA, 1)
                except PermissionError:
                    return "refused"
            return "made"

        assert as_ordinary_user(make) == "refused"


def test_ordinary_users_restore_all_but_the_owner() -> None:
    with place_for_all() as place:

        def restore() -> list[Missed | None]:
            with target_at(place / "target") as target:
                target.make_directory((b"d",))
                foreign = Metadata(0o4755, 1, 1, MTIME_NS)
                return [
                    restore_file(target, b"file", b"content", (b"d",), foreign),
                    target.make_symlink((b"d",), b"link", b"file", foreign),
                    target.make_special((b"d",), b"fifo", Kind.FIFO, foreign),
                    target.finish_directory((b"d",), foreign),
                ]

        assert as_ordinary_user(restore) == [Missed(owner=True)] * 4
        for name in ("file", "link", "fifo", "."):
            assert os.lstat(place / "target" / "d" / name).st_mtime_ns == MTIME_NS
        assert stat.S_IMODE((place / "target" / "d" / "file").stat().st_mode) == 0o755


def test_hard_links_are_one_file(target: Target, path: Path) -> None:
    target.make_directory((b"d",))
    restore_file(target, b"one")
    assert target.make_link((b"d",), b"two", (), b"one")
    assert os.path.samefile(path / "one", path / "d" / "two")


def test_a_hard_link_to_a_link_is_to_the_link_itself(target: Target, path: Path) -> None:
    target.make_symlink((), b"one", b"/etc/passwd", METADATA)
    target.make_link((), b"two", (), b"one")
    assert (path / "two").is_symlink()


def test_sparse_files_stay_sparse(target: Target, path: Path) -> None:
    made = target.create((), b"sparse", 8 << 20, 0)
    assert made is not None
    file, descriptor = made
    write_at(descriptor, [b"x" * 100], 4 << 20)
    target.finish(file, descriptor, METADATA, size=8 << 20)

    status = (path / "sparse").stat()
    assert status.st_size == 8 << 20
    assert status.st_blocks * 512 < 1 << 20
    assert (path / "sparse").read_bytes()[4 << 20 :][:101] == b"x" * 100 + b"\0"


def test_several_processes_write_one_file(target: Target, path: Path) -> None:
    made = target.create((), b"file", 6, 0)
    assert made is not None
    file, descriptor = made
    ticket, other_file = pickle.loads(pickle.dumps((target.ticket, file)))
    with Target.join(ticket) as other:
        part = other.reopen(other_file)
        write_at(part, [b"def"], 3)
        os.close(part)
    write_at(descriptor, [b"abc"], 0)
    target.finish(file, descriptor, METADATA)

    assert (path / "file").read_bytes() == b"abcdef"


def test_more_pieces_than_one_call_takes(target: Target, path: Path) -> None:
    made = target.create((), b"file", 0, 0)
    assert made is not None
    pieces = [b"%04d" % number for number in range(3000)]
    write_at(made[1], pieces, 10)
    target.finish(*made, METADATA)
    assert (path / "file").read_bytes() == b"\0" * 10 + b"".join(pieces)


def test_writes_go_on_where_the_kernel_stopped_early(
    target: Target, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev
    monkeypatch.setattr(
        os, "pwritev", lambda fd, pieces, offset: real(fd, [memoryview(pieces[0])[:2]], offset)
    )
    made = target.create((), b"file", 0, 0)
    assert made is not None
    write_at(made[1], [b"abc", b"defgh", b"i"], 1)
    target.finish(*made, METADATA)
    assert (path / "file").read_bytes() == b"\0abcdefghi"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_hole_at_the_end_where_files_cannot_be_enlarged(
    target: Target, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some file systems of FUSE make files larger by writing only."""

    def refuse(descriptor: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "ftruncate", refuse)
    begun = target.create((), b"file", 5000, 0)
    assert begun is not None
    new, descriptor = begun
    write_at(descriptor, [b"start"], 0)
    target.finish(new, descriptor, Metadata(0o600, os.geteuid(), os.getegid(), 0), 5000)
    assert (path / "file").read_bytes() == b"start" + bytes(4995)


def test_a_full_disk_is_no_such_file_system(
    target: Target, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, size: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", full)
    begun = target.create((), b"file", 5000, 0)
    assert begun is not None
    with pytest.raises(OSError, match="File too large"):
        target.finish(*begun, Metadata(0o600, os.geteuid(), os.getegid(), 0), 5000)
    assert not (path / "file").exists()


def test_few_directories_are_kept_where_few_files_may_be_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (40, 40))
    before = open_descriptors()
    with target_at(path) as target:
        parts: tuple[bytes, ...] = ()
        for _ in range(60):
            parts = (*parts, b"d")
            target.make_directory(parts)
            target.make_directory((*parts, b"beside"))
        restore_file(target, b"file", b"deep", parts)
        assert open_descriptors() - before <= 10 + 1
        assert sorted(os.listdir(target.directory(parts))) == ["beside", "file"]
