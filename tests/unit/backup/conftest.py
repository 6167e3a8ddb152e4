"""A computer for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.backup.denied import denied
from tests.unit.backup.laptop import Laptop, laptop_at

__all__ = ["denied"]


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with laptop_at(tmp_path) as laptop:
        yield laptop
