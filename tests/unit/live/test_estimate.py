import os
from pathlib import Path

from obnam.live.estimate import MUCH_BYTES, MUCH_ENTRIES, estimate_bytes, is_much


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


def test_a_few_files_are_not_much(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_bytes(bytes(1000))
    assert not is_much([os.fsencode(tmp_path), b"/no/such/root"])


def test_many_files_are_much_and_a_large_one_is(tmp_path: Path) -> None:
    many, large = tmp_path / "many", tmp_path / "large"
    many.mkdir()
    large.mkdir()
    for number in range(MUCH_ENTRIES + 1):
        (many / str(number)).touch()
    with (large / "file").open("wb") as file:
        file.truncate(MUCH_BYTES)
    assert is_much([os.fsencode(many)])
    assert is_much([os.fsencode(large)])
