import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam.errors import HostileEntry
from obnam.live.begun import NewFile
from obnam.live.overwrite import Overwrite
from obnam.live.write import Target
from obnam.model.entry import Kind, Metadata
from tests.unit.live.trees import (
    ME,
    METADATA,
    MTIME_NS,
    ORDINARY_USER,
    restore_file,
    target_at,
)

HOSTILE_NAMES = [b"", b".", b"..", b"/", b"/etc", b"a/b", b"../x", b"a\0b"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused_everywhere(target: Target, path: Path, name: bytes) -> None:
    target.make_directory((b"d",))
    restore_file(target, b"file", parts=(b"d",))
    attempts: list[Callable[[], object]] = [
        lambda: target.create((b"d",), name, 0, 0),
        lambda: target.create((name,), b"x", 0, 0),
        lambda: target.make_directory((b"d", name)),
        lambda: target.directory((b"d", name)),
        lambda: target.finish_directory((b"d", name), METADATA),
        lambda: target.make_symlink((b"d",), name, b"x", METADATA),
        lambda: target.make_special((b"d",), name, Kind.FIFO, METADATA),
        lambda: target.make_link((b"d",), name, (b"d",), b"file"),
        lambda: target.make_link((b"d",), b"x", (b"d",), name),
        lambda: target.reopen(NewFile((b"d",), b"x", name, (0, 0))),
    ]
    for attempt in attempts:
        with pytest.raises(HostileEntry, match="no name of a file"):
            attempt()

    assert os.listdir(path) == ["d"]
    assert os.listdir(path / "d") == ["file"]
    assert os.listdir(path.parent) == ["target"]


def test_a_restored_link_is_not_a_way_out(target: Target, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"untouched")
    target.make_symlink((), b"d", os.fsencode(outside), METADATA)
    attempts: list[Callable[[], object]] = [
        lambda: restore_file(target, b"file", parts=(b"d",)),
        lambda: target.make_directory((b"d",)),
        lambda: target.make_directory((b"d", b"sub")),
        lambda: target.make_symlink((b"d",), b"l", b"x", METADATA),
        lambda: target.make_link((b"d",), b"l", (), b"d"),
        lambda: target.make_link((), b"l", (b"d",), b"file"),
        lambda: target.finish_directory((b"d",), METADATA),
    ]
    for attempt in attempts:
        with pytest.raises(OSError):
            attempt()

    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"untouched"


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(
    path: Path, tmp_path: Path, overwrite: Overwrite
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    path.mkdir()
    (path / "file").symlink_to(outside)

    with target_at(path, overwrite) as target:
        missed = restore_file(target, b"file")

    assert outside.read_bytes() == b"untouched"
    assert (path / "file").is_symlink() == (overwrite is Overwrite.NEVER)
    assert (missed is None) == (overwrite is Overwrite.NEVER)


def test_a_directory_swapped_for_a_link_meanwhile_is_not_followed(
    target: Target, path: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target.make_directory((b"d",))
    (path / "d").rename(path / "moved")
    (path / "d").symlink_to(outside)

    with pytest.raises(OSError):
        restore_file(target, b"file", parts=(b"d",))
    assert os.listdir(outside) == []


def test_a_directory_swapped_after_it_was_opened_still_gets_its_files(
    target: Target, path: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target.make_directory((b"d",))
    target.directory((b"d",))
    (path / "d").rename(path / "moved")
    (path / "d").symlink_to(outside)

    restore_file(target, b"file", parts=(b"d",))

    assert os.listdir(outside) == []
    assert os.listdir(path / "moved") == ["file"]


@pytest.mark.parametrize("another", ["ours", "theirs", "linked", "fifo"])
def test_a_begun_file_that_was_swapped_is_not_finished(
    target: Target, path: Path, tmp_path: Path, another: str
) -> None:
    """Who keeps another file open could change it after it has become setuid, by its memory."""
    begun = target.create((), b"file", 1, 0)
    assert begun is not None
    new, descriptor = begun
    (path / "file").rename(tmp_path / "moved")
    if another == "ours":
        (path / "file").write_bytes(b"x")
    elif another == "theirs":
        if os.geteuid() != 0:
            pytest.skip("only root can have files of others here")
        (path / "file").write_bytes(b"x")
        os.chown(path / "file", ORDINARY_USER, ORDINARY_USER)
    elif another == "linked":
        (tmp_path / "outside").write_bytes(b"x")
        (path / "file").hardlink_to(tmp_path / "outside")
    else:
        os.mkfifo(path / "file")
    before = (path / "file").stat()
    with pytest.raises(OSError, match="replaced"):
        target.reopen(new)
    target.abandon(new, descriptor)
    assert (path / "file").stat() == before


def test_a_begun_file_that_was_removed_is_not_taken_for_the_next_one(
    target: Target, path: Path
) -> None:
    """Its number would be given to the next file, were it not kept open."""
    begun = target.create((), b"file", 1, 0)
    assert begun is not None
    new, descriptor = begun
    (path / "file").unlink()
    (path / "file").write_bytes(b"mine")
    with pytest.raises(OSError, match="replaced"):
        target.reopen(new)
    target.abandon(new, descriptor)
    assert (path / "file").read_bytes() == b"mine"


def test_a_begun_file_is_opened_again(target: Target) -> None:
    begun = target.create((), b"file", 1, 0)
    assert begun is not None
    new, descriptor = begun
    again = target.reopen(new)
    assert os.path.sameopenfile(descriptor, again)
    target.finish(new, again, METADATA)
    os.close(descriptor)


def test_metadata_never_reaches_what_a_link_leads_to(target: Target, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    outside.chmod(0o600)
    os.utime(outside, ns=(5, 5))
    before = outside.stat()

    target.make_symlink((), b"link", os.fsencode(outside), Metadata(0o777, *ME, MTIME_NS))

    assert outside.stat() == before


@pytest.mark.parametrize(
    ("kind", "file_type", "put_there"),
    [
        (Kind.FIFO, stat.S_IFREG, Path.symlink_to),
        (Kind.SOCKET, stat.S_IFSOCK, Path.hardlink_to),
    ],
    ids=["symlink-for-fifo", "link-for-socket"],
)
def test_what_swaps_a_special_file_for_a_link_gains_nothing(
    target: Target,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    file_type: int,
    put_there: Callable[[Path, Path], None],
) -> None:
    outside = tmp_path / "outside"
    os.mknod(outside, file_type | 0o600)
    real = os.mknod

    def make_and_swap(name: bytes, mode: int, device: int, *, dir_fd: int) -> None:
        real(name, mode, device, dir_fd=dir_fd)
        (path / "special").unlink()
        put_there(path / "special", outside)

    monkeypatch.setattr(os, "mknod", make_and_swap)
    with pytest.raises(OSError, match="replaced"):
        target.make_special((), b"special", kind, Metadata(0o666, *ME, 0))
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
