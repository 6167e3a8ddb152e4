"""A client in memory, for whole verifications."""

from collections.abc import Iterator

import pytest

from tests.support.memory_scene import Scene, memory_scene


@pytest.fixture
def scene() -> Iterator[Scene]:
    with memory_scene() as scene:
        yield scene
