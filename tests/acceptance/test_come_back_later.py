"""A server that gives a client little at once: everything still gets there, and comes back."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.computer import TWISTD, Computer, tree
from tests.support import stingy_server
from tests.support.server_process import ServerProcess

MIB = 1 << 20


@pytest.fixture
def stingy(tmp_path: Path) -> Iterator[ServerProcess]:
    program = (sys.executable, str(Path(stingy_server.__file__)), *TWISTD[1:])
    with ServerProcess(tmp_path / "server", program=program) as server:
        yield server


def test_429_is_waited_for(stingy: ServerProcess, computer: Computer) -> None:
    """The refusal is heard although the body was not all sent; the user is told of the waiting."""
    computer.obnam("init", stingy.invite("laptop"), "--no-passphrase")
    for number in range(10):
        (computer.live / f"{number}").write_bytes(os.urandom(12 * MIB))
    done = computer.backup()
    assert "HTTP status 429: This client asks for too much at once" in done.err
    assert "cannot be reached" not in done.err
    restored = computer.restored()
    assert tree(restored) == tree(computer.live)
    assert "Traceback" not in stingy.log_text
