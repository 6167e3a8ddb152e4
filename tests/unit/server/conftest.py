"""A server in memory, for every test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.in_memory import tmp_path
from tests.support.server_in_memory import ServerInMemory

__all__ = ["server", "tmp_path"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerInMemory]:
    server = ServerInMemory.open(tmp_path / "data")
    yield server
    server.close()
