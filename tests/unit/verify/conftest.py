"""A client in memory, for whole verifications."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.memory_scene import Scene, memory_scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    folder = tmp_path / "client"
    folder.mkdir()
    with memory_scene(folder) as scene:
        yield scene
