import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from obnam.live.apply import NOTHING_MISSED
from obnam.live.content import write_at
from obnam.live.overwrite import Overwrite
from obnam.live.write import Target
from obnam.model.entry import Kind, Metadata
from tests.unit.live.trees import (
    ME,
    METADATA,
    MTIME_NS,
    open_descriptors,
    restore_file,
    target_at,
)


def test_in_a_fresh_target_nothing_may_stand_in_the_way(target: Target, path: Path) -> None:
    (path / "file").write_bytes(b"someone else's")
    with pytest.raises(FileExistsError, match="a file stands in its place"):
        restore_file(target, b"file")
    assert (path / "file").read_bytes() == b"someone else's"


def test_replacing_is_all_or_nothing(path: Path) -> None:
    path.mkdir()
    (path / "file").write_bytes(b"old")
    with target_at(path, Overwrite.ALWAYS) as target:
        made = target.create((), b"file", 3, 0)
        assert made is not None
        write_at(made[1], [b"new"], 0)
        assert (path / "file").read_bytes() == b"old"
        target.abandon(*made)
        assert (path / "file").read_bytes() == b"old"
        restore_file(target, b"file")
    assert (path / "file").read_bytes() == b"new"
    assert os.listdir(path) == ["file"]


def test_an_abandoned_new_file_is_gone(target: Target, path: Path) -> None:
    made = target.create((), b"file", 3, 0)
    assert made is not None
    target.abandon(*made)
    assert os.listdir(path) == []


@pytest.mark.parametrize("call", ["chmod", "utime", "ftruncate", "rename"])
def test_a_file_that_cannot_be_finished_is_not_left_half(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path.mkdir()
    (path / "file").write_bytes(b"old")
    before = open_descriptors()

    def fail(*arguments: object, **more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with target_at(path, Overwrite.ALWAYS) as target:
        made = target.create((), b"file", 3, 0)
        assert made is not None
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            target.finish(*made, METADATA, size=3)
    monkeypatch.undo()
    assert (path / "file").read_bytes() == b"old"
    assert os.listdir(path) == ["file"]
    assert open_descriptors() == before


def test_a_link_whose_metadata_cannot_be_set_is_not_left(
    target: Target, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "utime", fail)
    with pytest.raises(OSError, match="Input/output"):
        target.make_symlink((), b"link", b"x", METADATA)
    assert os.listdir(path) == []


def test_unchanged_files_are_kept_if_asked(path: Path) -> None:
    path.mkdir()
    for name, mtime_ns in (("same", MTIME_NS), ("changed", 5)):
        (path / name).write_bytes(b"old")
        os.utime(path / name, ns=(0, mtime_ns))
    with target_at(path, Overwrite.IF_CHANGED) as target:
        assert restore_file(target, b"same") is None
        assert restore_file(target, b"changed") is NOTHING_MISSED
    assert (path / "same").read_bytes() == b"old"
    assert (path / "changed").read_bytes() == b"new"


def test_a_whole_directory_is_never_replaced(path: Path) -> None:
    (path / "d" / "precious").mkdir(parents=True)
    with target_at(path, Overwrite.ALWAYS) as target:
        with pytest.raises(FileExistsError, match="a directory stands in its place"):
            restore_file(target, b"d")
        with pytest.raises(FileExistsError, match="a directory stands in its place"):
            target.make_symlink((), b"d", b"x", METADATA)
        assert not target.make_directory((b"d",))
    assert os.listdir(path / "d") == ["precious"]


def test_a_file_makes_room_for_a_directory(path: Path) -> None:
    path.mkdir()
    (path / "d").touch()
    with target_at(path, Overwrite.ALWAYS) as target:
        assert target.make_directory((b"d",))
        restore_file(target, b"file", parts=(b"d",))
    with target_at(path, Overwrite.NEVER) as target, pytest.raises(FileExistsError):
        target.make_directory((b"d", b"file"))
    assert (path / "d" / "file").read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_all_else_is_kept_or_replaced(path: Path, overwrite: Overwrite) -> None:
    path.mkdir()
    for name in ("link", "fifo", "hard"):
        (path / name).write_bytes(b"old")
    with target_at(path, overwrite) as target:
        made = [
            target.make_symlink((), b"link", b"x", METADATA),
            target.make_special((), b"fifo", Kind.FIFO, METADATA),
        ]
        restore_file(target, b"first")
        linked = target.make_link((), b"hard", (), b"first")

    kept = overwrite is Overwrite.NEVER
    assert made == ([None, None] if kept else [NOTHING_MISSED] * 2)
    assert linked is not kept
    assert (path / "link").is_symlink() is not kept
    assert (path / "fifo").is_fifo() is not kept
    assert (path / "hard").read_bytes() == (b"old" if kept else b"new")
    assert sorted(os.listdir(path)) == ["fifo", "first", "hard", "link"]


def test_replacing_a_hard_link_by_itself_leaves_nothing_behind(path: Path) -> None:
    path.mkdir()
    (path / "one").write_bytes(b"x")
    os.link(path / "one", path / "two")
    with target_at(path, Overwrite.ALWAYS) as target:
        assert target.make_link((), b"two", (), b"one")
    assert sorted(os.listdir(path)) == ["one", "two"]
    assert os.path.samefile(path / "one", path / "two")


def test_inherited_acls_and_leftover_attributes_do_not_stay(path: Path) -> None:
    path.mkdir()
    try:
        done = subprocess.run(["setfacl", "-d", "-m", "u:12345:rwx", path], check=False)
    except FileNotFoundError:
        pytest.skip("there is no setfacl")
    if done.returncode:
        pytest.skip("this file system has no ACLs")
    with target_at(path) as target:
        target.make_directory((b"d",))
        restore_file(target, b"file", parts=(b"d",))
        restore_file(target, b"file")
        target.make_special((), b"fifo", Kind.FIFO, METADATA)
        target.make_symlink((), b"link", b"x", METADATA)
        target.finish_directory((b"d",), METADATA)
    for name in ("d", "d/file", "file", "fifo"):
        assert os.listxattr(path / name) == [], name
        assert stat.S_IMODE((path / name).stat().st_mode) == 0o640


def test_a_setgid_target_hands_nothing_down(path: Path) -> None:
    path.mkdir()
    path.chmod(0o2755)
    if os.geteuid() == 0:
        os.chown(path, 0, 12345)
        path.chmod(0o2755)
    with target_at(path) as target:
        target.make_directory((b"d",))
        restore_file(target, b"file", parts=(b"d",))
        target.finish_directory((b"d",), Metadata(0o755, *ME, 0))
    assert stat.S_IMODE((path / "d").stat().st_mode) == 0o755
    assert (path / "d").stat().st_gid == os.getegid()
    assert (path / "d" / "file").stat().st_gid == os.getegid()
