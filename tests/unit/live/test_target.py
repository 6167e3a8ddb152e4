import os
import pickle
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from obnam.errors import BadTarget
from obnam.live.overwrite import Overwrite
from obnam.live.target import open_target, prepare_target
from tests.unit.live.trees import as_ordinary_user, open_descriptors, place_for_all


def test_a_new_directory_is_made(tmp_path: Path) -> None:
    ticket = prepare_target(os.fsencode(tmp_path / "new"))

    assert (tmp_path / "new").is_dir()
    assert not ticket.clean
    os.close(open_target(ticket))


def test_an_empty_one_will_do(tmp_path: Path) -> None:
    assert not prepare_target(os.fsencode(tmp_path)).clean


def test_the_user_may_name_it_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.close(open_target(prepare_target(os.fsencode(tmp_path / "link"))))


def test_one_with_something_in_it_needs_a_word_about_it(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(BadTarget, match=r"not empty.*--overwrite"):
        prepare_target(os.fsencode(tmp_path))
    assert prepare_target(os.fsencode(tmp_path), Overwrite.NEVER).clean


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", "not a directory"),
        ("file/below", "not a directory"),
        ("none/below", "above it first"),
    ],
)
def test_what_cannot_be_a_target(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    before = open_descriptors()
    with pytest.raises(BadTarget, match=why) as caught:
        prepare_target(os.fsencode(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)
    assert open_descriptors() == before


def test_one_that_is_not_writable(tmp_path: Path) -> None:
    with place_for_all() as place:

        def prepare() -> str:
            (place / "target").mkdir(mode=0o555)
            with pytest.raises(BadTarget) as caught:
                prepare_target(os.fsencode(place / "target"))
            return str(caught.value)

        assert "not writable" in as_ordinary_user(prepare)


def test_a_default_acl_is_noticed(tmp_path: Path) -> None:
    try:
        done = subprocess.run(["setfacl", "-d", "-m", "u:12345:rwx", tmp_path], check=False)
    except FileNotFoundError:
        pytest.skip("there is no setfacl")
    if done.returncode:
        pytest.skip("this file system has no ACLs")
    assert prepare_target(os.fsencode(tmp_path)).clean


def test_another_process_opens_the_same_or_none(tmp_path: Path) -> None:
    path = tmp_path / "target"
    ticket = pickle.loads(pickle.dumps(prepare_target(os.fsencode(path))))
    os.close(open_target(ticket))
    path.rename(tmp_path / "moved")
    with pytest.raises(BadTarget, match="no such"):
        open_target(ticket)
    path.mkdir()
    before = open_descriptors()
    with pytest.raises(BadTarget, match="replaced"):
        open_target(ticket)
    assert open_descriptors() == before


def test_one_on_a_disk_that_can_only_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root is told what it is: nothing is unwritable for him otherwise."""
    monkeypatch.setattr(os, "access", lambda *path, **how: False)
    monkeypatch.setattr(os, "fstatvfs", lambda number: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(BadTarget, match="is on a disk that can only be read; mount it writable"):
        prepare_target(os.fsencode(tmp_path))
