"""One real server for all acceptance tests, a computer and a repository for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD, Computer
from tests.support.server_process import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """``twistd obnam-server`` with TLS and a certificate of its own making."""
    with ServerProcess(tmp_path_factory.mktemp("server"), program=TWISTD) as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the test's client and repository, used by no other test."""
    text = request.node.nodeid.rpartition("/")[2].lower()
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text)[-60:].lstrip("-")


@pytest.fixture
def invitation(server: ServerProcess, name: str) -> str:
    """An invitation for this test's client."""
    return server.invite(name)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    """A computer that has not joined."""
    return Computer.new(tmp_path / "computer")


@pytest.fixture
def joined(computer: Computer, invitation: str) -> Computer:
    """A computer that has joined, without a passphrase."""
    computer.obnam("init", invitation, "--no-passphrase")
    return computer


@pytest.fixture
def administrator(server: ServerProcess) -> Administrator:
    """Of the running server."""
    return Administrator(server.config)
