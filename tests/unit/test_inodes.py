"""A disk can be full in two ways."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from obnam.inodes import lacks_inodes


@pytest.mark.parametrize(
    ("files", "left", "lacking"), [(100, 0, True), (100, 1, False), (0, 0, False)]
)
def test_those_that_count_inodes(
    monkeypatch: pytest.MonkeyPatch, files: int, left: int, lacking: bool
) -> None:
    disk = SimpleNamespace(f_files=files, f_favail=left)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert lacks_inodes("/") is lacking


def test_a_disk_that_is_gone(tmp_path: Path) -> None:
    assert not lacks_inodes(tmp_path / "gone")
