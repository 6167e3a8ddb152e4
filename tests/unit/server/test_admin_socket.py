"""The administration's socket: what goes over it, who may use it, where it lies."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.base import ReactorBase
from twisted.internet.threads import deferToThread

from obnam.wire.limits import SOCKET_PATH_MAX
from obnam_server.admin.calling import about_running, ask, call
from obnam_server.administration.answers import OperationFailed
from obnam_server.administration.listener import ARGUMENTS_MAX
from obnam_server.administration.port import AdminPort
from obnam_server.config import Settings
from obnam_server.listening import write_listening
from obnam_server.sockets import ADMIN_SOCKET_NAME
from obnam_server.store.errors import BadDataDirectory, StoreInUse
from obnam_server.store.store import Store
from obnam_server.upkeep.pace import Pace
from obnam_server.upkeep.rounds import Rounds
from obnam_server.work import Work

HOUR_NS = 3600 * 10**9


@pytest.fixture
def reactor() -> ReactorBase:
    from twisted.internet import reactor

    return cast(ReactorBase, reactor)


@asynccontextmanager
async def listening(reactor: ReactorBase, data: Path) -> AsyncIterator[AdminPort]:
    """A store whose socket is listened on, as the server does."""
    store = Store.open(data, lambda: HOUR_NS)
    work = Work(reactor)
    work.start()
    pace = Pace(reactor, 1e9, lambda: False)
    rounds = Rounds(store, work, reactor, lambda: HOUR_NS, pace, 3600, ())
    port = AdminPort.open(store, work, rounds, lambda: {"pid": os.getpid()}, reactor)
    try:
        yield port
    finally:
        await rounds.stop()
        await port.close()
        await work.idle()
        work.stop()
        store.close()


def settings_of(data: Path) -> Settings:
    return Settings(data / "server.yaml", data)


async def asked(function: Callable[..., Any], *args: Any) -> Any:
    """Blocking, as the command is."""
    return await deferToThread(function, *args)


INVITED = {
    "client": "laptop",
    "repository": "home",
    "scopes": ["backup"],
    "expires_ns": 2 * HOUR_NS,
}


@pytest_twisted.ensureDeferred
async def test_operations_and_their_failures_come_as_they_are(
    reactor: ReactorBase, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "data")
    async with listening(reactor, tmp_path / "data") as port:
        assert stat.S_IMODE(port.path.stat().st_mode) == 0o600
        assert await asked(about_running, settings) == {"pid": os.getpid()}
        assert len((await asked(call, settings, "client-invite", INVITED))["code"]) >= 16
        found = await asked(call, settings, "client-list", {})
        assert [each["name"] for each in found["clients"]] == ["laptop"]
        with pytest.raises(OperationFailed, match="client nobody") as caught:
            await asked(call, settings, "client-revoke", {"client": "nobody"})
        assert (caught.value.name, caught.value.exit_code) == ("NotFound", 1)
    # And without a server, the same.
    assert call(settings, "client-list", {}) == found
    assert about_running(settings) is None


@pytest.mark.parametrize(
    ("method", "path", "arguments", "said"),
    [
        ("POST", "/nonsense", {}, "nonsense"),
        ("POST", "/%ff", {}, "%ff"),
        ("POST", "/client-list", [], "must be a JSON object"),
        ("POST", "/client-list", None, "is not JSON"),
        ("POST", "/client-revoke", {}, "'client' is missing"),
        ("POST", "/client-revoke", {"client": 3}, "'client' must be a text"),
        ("POST", "/client-revoke", {"client": "../x"}, "'client': a name has"),
        ("POST", "/client-invite", {**INVITED, "scopes": "backup"}, "'scopes' must be a list"),
        ("POST", "/client-invite", {**INVITED, "scopes": ["all"]}, "scopes are backup"),
        ("POST", "/client-invite", {**INVITED, "scopes": []}, "scopes are backup"),
        ("POST", "/client-invite", {**INVITED, "expires_ns": -1}, "'expires_ns' must be"),
        ("POST", "/client-revoke", {"client": "x" * ARGUMENTS_MAX}, "larger than allowed"),
        ("DELETE", "/client-list", {}, "cannot be done here"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_makes_no_sense_is_refused_and_named(
    reactor: ReactorBase, tmp_path: Path, method: str, path: str, arguments: Any, said: str
) -> None:
    async with listening(reactor, tmp_path / "data"):
        with pytest.raises(OperationFailed) as caught:
            await asked(ask, settings_of(tmp_path / "data"), method, path, arguments)
    assert said in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_others_are_turned_away_unread(reactor: ReactorBase, tmp_path: Path) -> None:
    async with listening(reactor, tmp_path / "data") as port:
        port._site.allowed = frozenset({os.geteuid() + 1})
        with pytest.raises(OperationFailed, match="only root and user") as caught:
            await asked(ask, settings_of(tmp_path / "data"), "GET", "/", None)
        assert caught.value.name == "AccessDenied"
        assert not port._site.channels


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest_twisted.ensureDeferred
async def test_the_kernel_says_who_it_is(reactor: ReactorBase, tmp_path: Path) -> None:
    """Even if somebody opened the doors: another user's process is refused."""
    stranger = (
        "import os, socket, sys\n"
        "connection = socket.socket(socket.AF_UNIX)\n"
        "os.chdir(sys.argv[1])\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "connection.connect('admin.socket')\n"
        "print(connection.makefile().readline())\n"
    )
    async with listening(reactor, tmp_path / "data") as port:
        port.path.parent.chmod(0o755)
        port.path.chmod(0o666)
        ended = await asked(
            lambda: subprocess.run(
                [sys.executable, "-c", stranger, str(port.path.parent)],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        )
    assert ended.stdout.startswith("HTTP/1.1 403")


@pytest_twisted.ensureDeferred
async def test_a_long_path_is_no_obstacle(reactor: ReactorBase, tmp_path: Path) -> None:
    data = tmp_path / ("d" * 100) / ("e" * 100)
    data.parent.mkdir()
    settings = settings_of(data)
    async with listening(reactor, data) as port:
        assert len(os.fsencode(port.path)) > SOCKET_PATH_MAX
        assert await asked(about_running, settings) == {"pid": os.getpid()}
    assert not port.path.exists()
    assert about_running(settings) is None
    assert call(settings, "client-list", {}) == {"clients": []}


@pytest_twisted.ensureDeferred
async def test_a_file_system_without_sockets(
    reactor: ReactorBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"

    @contextmanager
    def address(path: Path) -> Iterator[str]:
        yield "/proc/none" if path.parent == data else str(path)

    with monkeypatch.context() as patched:
        patched.setattr("obnam_server.ports.socket_address", address)
        async with listening(reactor, data) as port:
            assert port.path.parent != data
            assert stat.S_IMODE(port.path.parent.stat().st_mode) == 0o700
            assert await asked(about_running, settings_of(data)) is None
            write_listening(data, [], str(port.path))
            assert await asked(about_running, settings_of(data)) == {"pid": os.getpid()}
    assert not port.path.parent.exists()
    assert call(settings_of(data), "client-list", {}) == {"clients": []}


@pytest_twisted.ensureDeferred
async def test_somebody_removed_the_socket(reactor: ReactorBase, tmp_path: Path) -> None:
    async with listening(reactor, tmp_path / "data") as port:
        port.path.unlink()
        with pytest.raises(StoreInUse):
            await asked(call, settings_of(tmp_path / "data"), "client-list", {}, 0)
    assert not port.path.exists()


def test_what_a_crash_left_behind_is_no_server(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data")
    Store.open(settings.data_directory, lambda: 1).close()
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(settings.data_directory / ADMIN_SOCKET_NAME))
        leftover.listen()
    assert (settings.data_directory / ADMIN_SOCKET_NAME).is_socket()
    assert about_running(settings) is None
    assert call(settings, "client-list", {}) == {"clients": []}


def test_a_server_that_is_just_stopping_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path / "data")
    store = Store.open(settings.data_directory, lambda: 1)
    with pytest.raises(StoreInUse):
        call(settings, "client-list", {}, patience_s=0)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            store.close()

    monkeypatch.setattr("time.sleep", wait)
    assert call(settings, "client-list", {}) == {"clients": []}
    assert len(waited) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_server_of_another_user(tmp_path: Path) -> None:
    """Said in one line, whether it runs or not; nothing is changed."""
    data = tmp_path / "data"
    Store.open(data, lambda: 1).close()
    os.chown(data, 12345, 12345)
    before = sorted(path.name for path in data.iterdir())
    with pytest.raises(BadDataDirectory, match="belongs to user 12345, not to 0"):
        call(settings_of(data), "client-list", {})
    assert sorted(path.name for path in data.iterdir()) == before
