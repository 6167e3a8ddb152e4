"""A real server for the tests of a module, and real clients for it."""

from collections.abc import Iterator
from typing import cast

import pytest
from twisted.internet.base import ReactorBase

from tests.support.server_process import ServerProcess


@pytest.fixture
def reactor() -> ReactorBase:
    from twisted.internet import reactor

    return cast(ReactorBase, reactor)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as running:
        yield running
