"""A client in memory, for whole restores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.memory_scene import Scene, memory_scene


@pytest.fixture
def scene() -> Iterator[Scene]:
    with memory_scene() as scene:
        yield scene


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to back up."""
    made = tmp_path / "live"
    made.mkdir()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to restore to; not there yet."""
    return tmp_path / "target"
