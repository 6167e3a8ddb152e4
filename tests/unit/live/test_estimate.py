import os
from pathlib import Path

from obnam.live.estimate import estimate_bytes


def test_what_was_changed_since_counts(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(bytes(100))
    (tmp_path / "two").write_bytes(bytes(23))
    (tmp_path / "link").symlink_to("two")
    root = os.fsencode(tmp_path)
    assert estimate_bytes([root, b"/no/such/root"], 0, lambda: False) == 123
    later = (tmp_path / "two").stat().st_ctime_ns
    while (tmp_path / "folder" / "one").stat().st_ctime_ns <= later:
        (tmp_path / "folder" / "one").chmod(0o600)
    assert estimate_bytes([root], later + 1, lambda: False) == 100


def test_it_ends_when_it_is_over(tmp_path: Path) -> None:
    assert estimate_bytes([os.fsencode(tmp_path)], 0, lambda: True) is None
