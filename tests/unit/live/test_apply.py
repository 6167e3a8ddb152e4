import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from obnam.live.apply import ACCESS_ACL, NOTHING_MISSED, Missed, Rights, apply_metadata
from obnam.model.entry import Metadata
from tests.unit.live.trees import ORDINARY_USER, as_ordinary_user, place_for_all

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ME = (os.geteuid(), os.getegid())
MTIME_NS = 1_234_567_890_123_456_789

# user::rw-, user:12345:rwx, group::---, mask::rwx, other::r-- ; linux/posix_acl_xattr.h
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, identity)
    for tag, permissions, identity in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 7, 12345),
        (0x04, 0, 0xFFFFFFFF),
        (0x10, 7, 0xFFFFFFFF),
        (0x20, 4, 0xFFFFFFFF),
    )
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    return path


def _apply(path: Path, metadata: Metadata, *, clean: bool = False) -> Missed:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return apply_metadata(descriptor, metadata, Rights.of_process(), clean=clean)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("mode", [0o000, 0o644, 0o4755, 0o2755, 0o1777, 0o7777])
def test_mode_and_times_are_exact(file: Path, mode: int) -> None:
    missed = _apply(file, Metadata(mode | stat.S_IFREG, *ME, MTIME_NS))

    assert missed is NOTHING_MISSED
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert file.stat().st_mtime_ns == MTIME_NS


def test_times_before_the_epoch(file: Path) -> None:
    _apply(file, Metadata(0o600, *ME, -1_500_000_001))
    assert file.stat().st_mtime_ns == -1_500_000_001


@needs_root
def test_setuid_survives_the_change_of_owner(file: Path) -> None:
    assert _apply(file, Metadata(0o6711, 1234, 5678, 0)) is NOTHING_MISSED

    status = file.stat()
    assert (status.st_uid, status.st_gid) == (1234, 5678)
    assert stat.S_IMODE(status.st_mode) == 0o6711


@needs_root
def test_capabilities_survive_the_change_of_owner(file: Path) -> None:
    # VFS_CAP_REVISION_2, effective, cap_net_raw; linux/capability.h
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    attributes = ((b"security.capability", capability),)
    missed = _apply(file, Metadata(0o755, 1234, 5678, 0, attributes))

    if missed.attributes:
        pytest.skip("this file system has no capabilities")
    assert os.getxattr(file, b"security.capability") == capability


def test_foreign_owners_are_missed_and_give_no_setuid() -> None:
    with place_for_all() as place:

        def apply() -> tuple[Missed, int, int]:
            path = place / "file"
            path.touch(mode=0o600)
            missed = _apply(path, Metadata(0o6755, 1, 1, MTIME_NS))
            return missed, path.stat().st_mode, path.stat().st_mtime_ns

        missed, mode, mtime_ns = as_ordinary_user(apply)

    assert missed == Missed(owner=True)
    assert stat.S_IMODE(mode) == 0o755
    assert mtime_ns == MTIME_NS


def test_ones_own_files_keep_owner_and_setuid() -> None:
    with place_for_all() as place:

        def apply() -> tuple[Missed, int]:
            path = place / "file"
            path.touch(mode=0o600)
            metadata = Metadata(0o6755, os.getuid(), os.getgid(), 0)
            return _apply(path, metadata), path.stat().st_mode

        missed, mode = as_ordinary_user(apply)

    assert missed == NOTHING_MISSED
    assert stat.S_IMODE(mode) == 0o6755


def test_a_foreign_group_alone_costs_setgid_alone() -> None:
    with place_for_all() as place:

        def apply() -> tuple[Missed, int]:
            path = place / "file"
            path.touch(mode=0o600)
            return _apply(path, Metadata(0o6755, os.getuid(), 1, 0)), path.stat().st_mode

        missed, mode = as_ordinary_user(apply)

    assert missed == Missed(owner=True)
    assert stat.S_IMODE(mode) == 0o4755


def test_a_foreign_owner_alone_is_missed_and_costs_setuid_alone(file: Path) -> None:
    rights = Rights(ME[0] + 1, frozenset({ME[1]}), root=False)
    descriptor = os.open(file, os.O_RDONLY)
    missed = apply_metadata(descriptor, Metadata(0o6755, *ME, 0), rights)
    os.close(descriptor)

    assert missed == Missed(owner=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o2755


def test_whose_it_is_need_not_be_known(file: Path) -> None:
    """As it cannot be of what is open by its path only."""
    descriptor = os.open(file, os.O_PATH)
    place = b"/proc/self/fd/%d" % descriptor
    missed = apply_metadata(place, Metadata(0o640, *ME, MTIME_NS), Rights.of_process())
    os.close(descriptor)

    assert missed == NOTHING_MISSED
    assert (file.stat().st_uid, file.stat().st_gid) == ME
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("ids", [(-1, 0), (0xFFFFFFFF, 0), (0, 1 << 32), (1 << 70, 0)])
def test_owners_that_cannot_be_are_missed(file: Path, ids: tuple[int, int]) -> None:
    before = file.stat()
    assert _apply(file, Metadata(0o4755, *ids, 0)) == Missed(owner=True)
    assert (file.stat().st_uid, file.stat().st_gid) == (before.st_uid, before.st_gid)
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


def test_a_refused_change_of_owner_is_missed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: object, uid: int, gid: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "chown", refuse)
    rights = Rights(0, frozenset({0}), root=True)
    descriptor = os.open(file, os.O_RDONLY)
    missed = apply_metadata(descriptor, Metadata(0o6755, 5, 5, 0), rights)
    os.close(descriptor)

    assert missed == Missed(owner=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


def test_attributes_are_set_and_leftovers_removed_when_asked(file: Path) -> None:
    try:
        os.setxattr(file, b"user.old", b"old")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    metadata = Metadata(0o400, *ME, MTIME_NS, ((b"user.new", b"\0\xff"),))

    assert _apply(file, metadata) is NOTHING_MISSED
    assert set(os.listxattr(file)) == {"user.old", "user.new"}
    assert os.getxattr(file, b"user.new") == b"\0\xff"
    file.chmod(0o600)
    assert _apply(file, metadata, clean=True) is NOTHING_MISSED
    assert os.listxattr(file) == ["user.new"]
    assert file.stat().st_mtime_ns == MTIME_NS


def test_attributes_that_are_refused_are_named(file: Path) -> None:
    metadata = Metadata(0o640, *ME, 5, ((b"nonsense.a", b"x"), (b"user.fine", b"y")))

    missed = _apply(file, metadata)

    assert not missed.owner
    assert missed.attributes[0] == (b"nonsense.a", errno.EOPNOTSUPP)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.stat().st_mtime_ns == 5


def test_acls_are_as_they_were(file: Path) -> None:
    missed = _apply(file, Metadata(0o674, *ME, 0, ((ACCESS_ACL, ACL),)))
    if missed.attributes:
        pytest.skip("this file system has no ACLs")

    assert os.getxattr(file, ACCESS_ACL) == ACL
    assert stat.S_IMODE(file.stat().st_mode) == 0o674


@pytest.mark.parametrize(
    ("acl", "mode"), [(ACL, 0o604), (ACL[:-1], 0o604), (b"", 0o604), (ACL[:4], 0o604)]
)
def test_without_its_acl_a_file_gives_nobody_more(
    file: Path, monkeypatch: pytest.MonkeyPatch, acl: bytes, mode: int
) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)

    missed = _apply(file, Metadata(0o674, *ME, 0, ((ACCESS_ACL, acl),)))

    assert missed.attributes == ((ACCESS_ACL, errno.EOPNOTSUPP),)
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_group_keeps_what_the_acl_gives_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acl = struct.pack("<I", 2) + struct.pack("<HHI", 0x04, 5, 0xFFFFFFFF)
    monkeypatch.setattr(os, "setxattr", _no_space)

    _apply(file, Metadata(0o677, *ME, 0, ((ACCESS_ACL, acl),)))

    assert stat.S_IMODE(file.stat().st_mode) == 0o657


def _no_space(*arguments: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_rights_of_an_ordinary_user() -> None:
    if os.geteuid() == 0:
        rights = as_ordinary_user(Rights.of_process)
        assert rights == Rights(ORDINARY_USER, frozenset({ORDINARY_USER}), root=False)
    else:
        assert not Rights.of_process().root


def test_permissions_that_the_file_system_does_not_have_are_missed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vfat has it, or a share of Windows: what is restored there is there all the same."""

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    assert _apply(file, Metadata(0o640, *ME, MTIME_NS)) == Missed(permissions=True)
    assert file.stat().st_mtime_ns == MTIME_NS


@pytest.mark.parametrize(("name", "stays"), [("system.nfs4_acl", True), ("user.left", False)])
def test_attributes_that_cannot_be_removed_are_missed(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, stays: bool
) -> None:
    """NFS shows its ACL as an attribute of every file."""
    present = [name]

    def remove(place: object, given: bytes) -> None:
        if stays:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        present.remove(os.fsdecode(given))

    monkeypatch.setattr(os, "listxattr", lambda place: present)
    monkeypatch.setattr(os, "removexattr", remove)
    missed = _apply(file, Metadata(0o640, *ME, MTIME_NS), clean=True)
    expected = ((name.encode(), errno.EOPNOTSUPP),) if stays else ()
    assert missed == Missed(attributes=expected)


@pytest.mark.parametrize("name", ["system.posix_acl_access", "system.posix_acl_default"])
def test_an_acl_that_cannot_be_removed_is_a_failure(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would let others in."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "listxattr", lambda place: [name])
    monkeypatch.setattr(os, "removexattr", refuse)
    with pytest.raises(OSError, match="Input/output"):
        _apply(file, Metadata(0o640, *ME, MTIME_NS), clean=True)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_with_nothing_but_content(
    file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As some of FUSE are: what cannot be set costs nobody his file."""

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("chown", "chmod", "utime", "setxattr"):
        monkeypatch.setattr(os, name, refuse)
    descriptor = os.open(file, os.O_RDONLY)
    metadata = Metadata(0o640, 5, 5, MTIME_NS, ((b"user.a", b"b"),))
    missed = apply_metadata(descriptor, metadata, Rights(0, frozenset({0}), root=True))
    os.close(descriptor)
    assert missed == Missed(
        owner=True, attributes=((b"user.a", number),), permissions=True, times=True
    )


@pytest.mark.parametrize("name", ["chown", "chmod", "utime"])
def test_a_broken_disk_is_not_taken_for_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, name, broken)
    descriptor = os.open(file, os.O_RDONLY)
    with pytest.raises(OSError, match="Input/output"):
        apply_metadata(descriptor, Metadata(0, 5, 5, 0), Rights(0, frozenset({0}), root=True))
    os.close(descriptor)
