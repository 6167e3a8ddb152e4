"""One world for the tests of a module; each begins with live data of its own."""

from collections.abc import Iterator

import pytest

from tests.crash.world import World, new_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose server may die and be started again; tests leave it running."""
    with new_world(tmp_path_factory.mktemp("world")) as world:
        yield world
