"""A server in memory, for every test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server_in_memory import ServerInMemory


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerInMemory]:
    server = ServerInMemory.open(tmp_path / "data")
    yield server
    server.close()
