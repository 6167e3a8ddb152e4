"""The store's tests work in memory, and many on one day of a server with something spoilt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.in_memory import tmp_path
from tests.support.scrubbed import SpoiltServer

__all__ = ["tmp_path"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SpoiltServer]:
    """Where nothing else is said: a day's store, open."""
    server = SpoiltServer.begun(tmp_path / "data")
    yield server
    server.store.close()
