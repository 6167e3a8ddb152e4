"""A computer for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.backup.laptop import Laptop, laptop_at


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with laptop_at(tmp_path) as laptop:
        yield laptop
