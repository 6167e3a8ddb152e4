"""Trees that are too deep to be walked: anyone may make one, in a second."""

import os
import subprocess
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.backup import scan as backup_scan
from obnam.live import scan as live_scan
from obnam.model.entry import Reason
from tests.unit.backup.laptop import Laptop

ensure = pytest_twisted.ensureDeferred


def _deep(top: Path, name: str, levels: int) -> None:
    """Directories in each other, farther than one system call reaches."""
    at = os.open(top, os.O_RDONLY)
    try:
        for level in range(levels):
            os.mkdir(name, dir_fd=at)
            if level % 100 == 0:
                os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
            below = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
    finally:
        os.close(at)


@pytest.mark.parametrize(("name", "levels"), [("d" * 255, 400), ("d", 5000)])
@ensure
async def test_what_is_too_deep_is_told_at_every_backup(
    laptop: Laptop, name: str, levels: int
) -> None:
    _deep(laptop.root, name, levels)
    (laptop.root / "other").write_bytes(b"other")
    try:
        for _ in range(2):
            generation = await laptop.back_up()
            (warning,) = laptop.warnings
            assert warning.startswith(f"{laptop.root}/{name[:20]}")
            assert "1 directories in it lie too deep" in warning
            assert len(warning) < 1000
        entries = await laptop.read(generation)
        assert entries[bytes(laptop.root / "other")].content == b"other"
        deepest = max(entries, key=len)
        assert entries[deepest].reason is Reason.ERROR
        assert len(deepest) <= live_scan.PATH_BYTES_MAX + 2 * 256
        assert deepest.count(b"/") <= live_scan.DEPTH_MAX + 1
        assert laptop.results[-1].sent.files == 0
    finally:
        # Python and pytest remove no directories that are so deep.
        subprocess.run(["rm", "-rf", laptop.root / name], check=True)


@ensure
async def test_what_was_known_of_it_is_kept(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (laptop.root / "a" / "b" / "c").mkdir(parents=True)
    (laptop.root / "a" / "b" / "c" / "file").write_bytes(b"content")
    await laptop.back_up()
    monkeypatch.setattr(live_scan, "DEPTH_MAX", str(laptop.root).count("/") + 1)
    entries = await laptop.below(await laptop.back_up())
    assert len(laptop.warnings) == 1
    assert entries["a/b"].reason is Reason.ERROR
    assert entries["a/b/c/file"].content == b"content"
    monkeypatch.undo()
    reasons = await laptop.reasons(await laptop.back_up())
    assert laptop.warnings == []
    assert reasons["a/b"] is Reason.CHANGED
    assert reasons["a/b/c/file"] is Reason.CHANGED
    assert set((await laptop.reasons(await laptop.back_up())).values()) == {Reason.UNCHANGED}


@ensure
async def test_a_directory_that_vanishes_and_comes_back_leaves_nothing_unreachable(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is gone, so what another one of its name holds waits for the next backup."""
    (laptop.root / "a").mkdir()
    (laptop.root / "a" / "file").write_bytes(b"content")

    def vanished(directory: int, name: bytes) -> None:
        raise FileNotFoundError(2, os.strerror(2), name)

    monkeypatch.setattr(backup_scan, "read_attributes_at", vanished)
    entries = await laptop.below(await laptop.back_up())
    assert set(entries) == {""}
    assert laptop.results[-1].sent.files == 0
    monkeypatch.undo()
    assert set(await laptop.below(await laptop.back_up())) == {"", "a", "a/file"}
