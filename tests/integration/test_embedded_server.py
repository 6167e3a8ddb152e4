"""The server that a client starts for itself: how it begins, fails and ends."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults

from obnam.errors import EmbeddedServerFailed
from obnam.model.ids import ClientName, RepositoryName
from obnam.pool.slabs import make_slab
from obnam.repository import embedded, starting
from obnam.repository.connect import open_embedded
from obnam.wire.lent import Lent
from obnam.wire.lifeline import UpkeepAsked
from obnam_server.listening import read_listening

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor

ENDS_S = 30.0

CLIENT = """
import os, sys
from pathlib import Path
from twisted.internet import defer, reactor
from obnam.repository import embedded

async def main():
    await embedded.start(reactor, Path(sys.argv[1]), [Path(sys.argv[2])])
    print("started", flush=True)

defer.ensureDeferred(main())
reactor.run()
"""


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory with a short path; what a killed client leaves there goes with it."""
    with TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


@ensure
async def test_a_directory_in_use(tmp_path: Path, runtime: Path) -> None:
    first = await embedded.start(reactor, tmp_path / "data", [runtime])
    try:
        with pytest.raises(EmbeddedServerFailed, match="in use by process"):
            await embedded.start(reactor, tmp_path / "data", [runtime])
    finally:
        await first.stop()


@ensure
async def test_a_directory_that_cannot_be_made(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerFailed) as caught:
        await embedded.start(reactor, tmp_path / "file" / "data", [runtime])
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@ensure
async def test_the_private_directory(tmp_path: Path, runtime: Path) -> None:
    """Its path must be short enough for a socket, and only we may enter it."""
    too_long = tmp_path / ("x" * 100)
    too_long.mkdir()
    parents = [tmp_path / "missing", too_long, runtime]
    server = await embedded.start(reactor, tmp_path / "data", parents)
    private = Path(server.socket_path).parent
    assert private.parent == runtime
    assert private.stat().st_mode & 0o777 == 0o700
    await server.stop()
    assert not private.exists()
    assert list(too_long.iterdir()) == []
    with pytest.raises(EmbeddedServerFailed, match="too long for a socket"):
        await embedded.start(reactor, tmp_path / "data", [too_long])
    with pytest.raises(EmbeddedServerFailed, match="no directory for its socket"):
        await embedded.start(reactor, tmp_path / "data", [])


@ensure
async def test_it_ends_although_its_private_directory_is_gone(
    tmp_path: Path, runtime: Path
) -> None:
    """As when a client ends early, which removes it and does not wait."""
    server = await embedded.start(reactor, tmp_path / "data", [runtime])
    shutil.rmtree(server._started.private)
    await server.stop()
    assert server._started.process.returncode == 0


@ensure
async def test_nothing_is_left_of_one_that_nobody_waited_for(tmp_path: Path, runtime: Path) -> None:
    started = starting.begin(tmp_path / "data", [runtime])
    assert list(runtime.iterdir()) != []
    started.remove_private()
    assert list(runtime.iterdir()) == []
    server = embedded.take_over(reactor, started)
    # Most likely it finds no configuration; or it was quicker than we were.
    with suppress(EmbeddedServerFailed):
        await server.until_ready()
        await server.stop()
    assert list(runtime.iterdir()) == []


@ensure
async def test_it_takes_no_modules_from_where_the_user_is(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    server = await embedded.start(reactor, tmp_path / "data", [runtime])
    await server.stop()


@ensure
async def test_one_that_dies_is_not_waited_for(tmp_path: Path, runtime: Path) -> None:
    """Nobody starts it again: it is said at once, and not retried for minutes."""
    server = await embedded.start(reactor, tmp_path / "data", [runtime])
    code = await server.invite(
        ClientName("laptop"), RepositoryName("laptop"), ["backup", "restore"]
    )
    repository = open_embedded(reactor, server, code)
    assert server.gone() is None
    server._started.process.kill()
    await server._child.ended
    slab = make_slab(4096)
    try:
        assert not await server.lend(Lent(slab.number, slab.descriptor, 0))
        with pytest.raises(EmbeddedServerFailed, match="has ended") as caught:
            await repository.describe()
        assert not caught.value.temporary
    finally:
        slab.remove()
        await repository.close()
    assert list(runtime.iterdir()) == []


@ensure
async def test_what_it_is_lent(tmp_path: Path, runtime: Path) -> None:
    slabs = [make_slab(4096) for _ in range(2)]
    server = await embedded.start(reactor, tmp_path / "data", [runtime])
    lents = [Lent(slab.number, slab.descriptor, 0) for slab in slabs]
    with (tmp_path / "file").open("wb") as file:
        assert not await server.lend(Lent(10**6, file.fileno(), 0))
    assert not await server.lend(Lent(10**6 + 1, -1, 0))
    answers = await gatherResults([Deferred.fromCoroutine(server.lend(each)) for each in lents])
    assert answers == [True, True]
    slabs[0].remove()
    assert await server.lend(lents[0])  # from before
    assert (await server.look_after(UpkeepAsked(1))).warnings == ()
    await server.stop()
    assert not await server.lend(Lent(10**6 + 2, slabs[1].descriptor, 0))
    slabs[1].remove()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_the_server_does_not_outlive_its_client(
    tmp_path: Path, runtime: Path, how: signal.Signals
) -> None:
    data = tmp_path / "data"
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(data), str(runtime)],
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"started\n"
    listening = read_listening(data)
    assert listening is not None
    server = os.pidfd_open(listening.pid)
    try:
        client.send_signal(how)
        client.wait()
        client.stdout.close()
        ended, _, _ = select.select([server], [], [], ENDS_S)
        assert ended, "the server still runs"
        assert read_listening(data) is None
        assert list(runtime.iterdir()) == []
    finally:
        os.close(server)
