"""Owner and worker in one process, over real sockets: what becomes of things when one end fails."""

import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent

from obnam.model.ids import ClientName, RepositoryName, SessionId
from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids
from obnam_server.api import Api
from obnam_server.auth import Gate
from obnam_server.monitoring.events import Events
from obnam_server.monitoring.metrics import Counters
from obnam_server.ports import BACKLOG, PrivateSocket
from obnam_server.room import Room
from obnam_server.services import Repositories, Services
from obnam_server.sharing.failures import Failures
from obnam_server.sharing.queues import Queues
from obnam_server.sockets import WORKERS_SOCKET_NAME
from obnam_server.store.errors import StoreFull
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.work import Work
from obnam_server.workers.carrying import WrittenBody
from obnam_server.workers.channel import Carriage, WorkerSite
from obnam_server.workers.desk import Desk
from obnam_server.workers.desk_site import DeskSite
from obnam_server.workers.request import WorkerRequest
from tests.support.guard import FlushLoggedErrors
from tests.support.raw_backup import chunk_id, frames

TOKEN = "token-that-is-long-enough-to-be-one-of-ours"
HOME = RepositoryName("home")
PATIENCE_S = 20.0


@define(eq=False)
class Scene:
    """Both processes' halves, a client that is enrolled, and its session."""

    reactor: ReactorBase
    store: Store
    desk: DeskSite
    private: PrivateSocket
    worker: WorkerSite
    port: IListeningPort
    home: RepositoryStore
    session: SessionId

    def connect(self) -> socket.socket:
        address = cast(Any, self.port.getHost())
        return socket.create_connection((address.host, address.port), timeout=PATIENCE_S)

    def head(self, method: str, path: str, length: int) -> bytes:
        """Of a request that is the last one on its connection."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Connection: close",
            f"Authorization: Bearer {TOKEN}",
            f"Obnam-Session: {self.session}",
            f"Content-Length: {length}",
        ]
        return "\r\n".join((*lines, "", "")).encode("ascii")

    async def ask(self, method: str, path: str, body: bytes) -> bytes:
        """The answer to a request."""

        def asked() -> bytes:
            with self.connect() as connection:
                connection.sendall(self.head(method, path, len(body)) + body)
                received = b""
                while piece := connection.recv(65536):
                    received += piece
                return received

        return cast(bytes, await deferToThread(asked))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor work until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it does not come to that"
            await deferLater(cast(Any, self.reactor), 0, lambda: None)

    @property
    def nothing_is_held(self) -> bool:
        services = self.desk.services
        going = len(services.queues.uploads) + len(services.queues.answers)
        incoming = self.store.data / "repositories" / HOME / "incoming"
        reserved = len(self.home.reservations)
        held = going + reserved + len(list(incoming.iterdir())) + len(self.desk.channels)
        return held == 0


@pytest_twisted.async_yield_fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    store = Store.open(tmp_path / "data", time.time_ns)
    work, carried = Work(reactor), Work(reactor)
    for each in (work, carried):
        each.start()
    counters = Counters()
    gate = Gate(store.clients, work, Failures(reactor.seconds))
    events = Events(time.time_ns)
    api = Api(store, work, gate, counters, events, reactor, time.time_ns)
    services = Services(
        api.app.url_map,
        api.routes,
        gate,
        Repositories(store, work),
        work,
        reactor,
        counters,
        Queues.empty(reactor),
        Room(store.settings, work, events),
    )
    desk = DeskSite(api.app.resource(), Desk(work, counters, reactor), services, reactor)
    private = PrivateSocket.open(store.data / WORKERS_SOCKET_NAME, desk, reactor)
    site: Any = WorkerSite(Carriage(store.data, private.path, carried, reactor), WorkerRequest)
    port = reactor.listenTCP(0, site, backlog=BACKLOG, interface="127.0.0.1")
    code = store.clients.invite(ClientName("laptop"), HOME, ("backup", "restore"), 2**62)
    store.clients.enrol(code, sha256(TOKEN.encode("ascii")).hexdigest())
    home = store.create_repository(HOME)
    session = home.begin_session(ClientName("laptop"), None)
    yield Scene(reactor, store, desk, private, site, port, home, session)
    await maybeDeferred(port.stopListening)
    site.abort()
    await site.drain()
    await private.close()
    await desk.drain()
    for each in (carried, work):
        idle: Deferred[None] = each.idle()
        await idle
        await deferToThread(each.stop)
    store.close()


@pytest_twisted.ensureDeferred
async def test_there_and_back(scene: Scene) -> None:
    body = frames(*range(50))
    assert (await scene.ask("POST", "/v1/chunks", body)).startswith(b"HTTP/1.1 204")
    ids = pack_ids([chunk_id(n) for n in range(50)])
    answer = await scene.ask("POST", "/v1/chunks/fetch", ids)
    assert answer.partition(b"\r\n\r\n")[2] == body
    await scene.until(lambda: scene.nothing_is_held)


@pytest_twisted.ensureDeferred
async def test_a_full_disk(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, flush_logged_errors: FlushLoggedErrors
) -> None:
    """It is the worker that finds out; the client is told, and nothing stays."""

    def full(self: WrittenBody, pieces: object) -> None:
        raise StoreFull(str(self.path))

    monkeypatch.setattr(WrittenBody, "write", full)
    answer = await scene.ask("POST", "/v1/chunks", frames(1))
    assert answer.startswith(b"HTTP/1.1 507")
    assert b"urn:obnam:problem:full" in answer
    await scene.until(lambda: scene.nothing_is_held)
    durations = scene.desk.services.counters.durations
    assert ("POST /v1/chunks", 507) in durations
    monkeypatch.undo()
    answer = await scene.ask("POST", "/v1/chunks", frames(1))
    assert answer.startswith(b"HTTP/1.1 204")
    assert flush_logged_errors() == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("path", ["/v1/chunks", "/v1/chunks/fetch", "/v1/keyring"])
async def test_a_client_that_goes_within_its_body(scene: Scene, path: str) -> None:
    with scene.connect() as connection:
        method = "PUT" if path == "/v1/keyring" else "POST"
        connection.sendall(scene.head(method, path, 33 * 1000) + bytes(33 * 500))
        await scene.until(lambda: bool(scene.desk.channels))
    await scene.until(lambda: scene.nothing_is_held)
    await scene.until(lambda: not scene.worker.channels)


def open_files(folder: Path) -> list[str]:
    """Files in a folder that this process has open, deleted ones, too."""
    found = []
    for each in os.scandir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(each.path))
    return [path for path in found if path.startswith(f"{folder}/")]


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_when_some_of_its_body_is_written(scene: Scene) -> None:
    """The worker lets go of the file: the disk has its room only then."""
    incoming = scene.store.data / "repositories" / HOME / "incoming"
    large = bytes(100_000)
    body = b"".join(pack_header(chunk_id(n), len(large)) + large for n in range(30))
    head = scene.head("POST", "/v1/chunks", 2 * len(body))
    with scene.connect() as connection:
        await deferToThread(connection.sendall, head + body)
        await scene.until(lambda: len(open_files(incoming)) == 2)  # the owner's, and the worker's
    await scene.until(lambda: scene.nothing_is_held)
    await scene.until(lambda: not open_files(incoming))


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_within_its_answer(scene: Scene) -> None:
    """Its turn is another's, although not all was sent."""
    large = bytes(150_000)  # all together more than the system buffers
    body = b"".join(pack_header(chunk_id(n), len(large)) + large for n in range(100))
    assert (await scene.ask("POST", "/v1/chunks", body)).startswith(b"HTTP/1.1 204")
    ids = pack_ids([chunk_id(n) for n in range(100)])
    with scene.connect() as connection:
        connection.sendall(scene.head("POST", "/v1/chunks/fetch", len(ids)) + ids)
        received = await deferToThread(connection.recv, 1000)
        assert received.startswith(b"HTTP/1.1 200")
        assert len(scene.desk.services.queues.answers) == 1
    await scene.until(lambda: scene.nothing_is_held)
    assert scene.worker.carriage.carried == 0


@pytest_twisted.ensureDeferred
async def test_an_owner_that_hangs_up(scene: Scene) -> None:
    """Its clients' connections are cut: an answer that is not whole must not look like one."""
    with scene.connect() as connection:
        connection.sendall(scene.head("POST", "/v1/chunks", 33_000) + frames(1, 2))
        await scene.until(lambda: len(scene.desk.services.queues.uploads) == 1)
        scene.desk.abort()
        with suppress(ConnectionResetError):
            assert await deferToThread(connection.recv, 1000) == b""
    await scene.until(lambda: scene.nothing_is_held)


@pytest_twisted.ensureDeferred
async def test_very_many_at_once(scene: Scene) -> None:
    """They wait for an owner that is busy just then: none is turned away."""
    accepting = cast(Any, scene.private._port)
    accepting.stopReading()
    with ExitStack() as stack:
        clients = [stack.enter_context(scene.connect()) for _ in range(200)]
        await scene.until(lambda: len(scene.worker.channels) == len(clients))
        for each in clients:
            each.sendall(scene.head("GET", "/health", 0))
        accepting.startReading()
        for each in clients:
            answer = await deferToThread(each.recv, 1000)
            assert answer.startswith(b"HTTP/1.1 200")


@pytest_twisted.ensureDeferred
async def test_strangers_are_too_many(scene: Scene) -> None:
    """The owner counts those of all workers; who must go is gone at once, whatever it says."""
    scene.desk.crowd._most_strangers = 3
    strangers = []
    for number in range(1, 6):
        strangers.append(scene.connect())
        await scene.until(lambda: len(scene.desk.channels) == min(number, 3))  # noqa: B023
        await scene.until(lambda: len(scene.worker.channels) == min(number, 3))  # noqa: B023
    for each in strangers[:2]:
        with suppress(ConnectionResetError):
            assert await deferToThread(each.recv, 1000) == b""
    for each in strangers:
        each.close()
    await scene.until(lambda: scene.nothing_is_held)


@pytest_twisted.ensureDeferred
async def test_a_chunk_that_cannot_be_read(scene: Scene) -> None:
    """The owner looks at it; asked again, it is absent, and the others are there."""
    for number in (1, 2):
        await scene.ask("POST", "/v1/chunks", frames(number))
    path = sorted(scene.store.data.glob("repositories/home/segments/*/*"))[0]
    path.write_bytes(path.read_bytes()[:100])
    ids = pack_ids([chunk_id(1), chunk_id(2)])
    with capturedLogs() as events:
        answer = await scene.ask("POST", "/v1/chunks/fetch", ids)
    assert answer.startswith(b"HTTP/1.1 500")
    (line,) = [text for text in map(formatEvent, events) if "cannot be read" in text]
    assert f"segment {path.name}: ends before byte" in line
    assert not [event for event in events if "log_failure" in event]  # a line, and no traceback
    answer = await scene.ask("POST", "/v1/chunks/fetch", ids)
    assert answer.partition(b"\r\n\r\n")[2] == chunk_id(1) + bytes(4) + frames(2)
    await scene.until(lambda: scene.nothing_is_held)
