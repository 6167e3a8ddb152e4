"""A fresh target for each test, and whether it closes what it opens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from obnam.live.write import Target
from tests.unit.live.trees import open_descriptors, target_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the target is, or is to be."""
    return tmp_path / "target"


@pytest.fixture
def target(path: Path) -> Iterator[Target]:
    """A new target at ``path``."""
    before = open_descriptors()
    with target_at(path) as target:
        yield target
    assert open_descriptors() == before
