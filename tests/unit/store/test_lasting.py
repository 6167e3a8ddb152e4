"""What is answered outlives a power failure: changes that no segment tells of wait for the disk.

Those that a segment tells of, too, are in `tests.damage.test_power_loss`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from obnam.model.ids import SessionId
from obnam_server.store.disk.database import Database
from obnam_server.store.event_queue import EventQueue
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from tests.support.stored import ALICE, BOB, HOME, START_NS, Clock, chunk_id, digest, put

LATER_NS = START_NS + 3600 * 10**9
URL = "https://example.com/hook"


@define
class Scene:
    """A server's data: a client with a token and another one to come, a code, and a session."""

    store: Store
    home: RepositoryStore
    queue: EventQueue
    session: SessionId
    code: str


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "data", Clock())
    home = store.create_repository(HOME)
    clients = store.clients
    clients.enrol(clients.invite(ALICE, HOME, ("backup",), LATER_NS), digest("token"))
    clients.rotate(ALICE, digest("next"))
    store.settings.set_quota(HOME, 10**9)
    queue = EventQueue.open(tmp_path / "data")
    queue.add([URL], b"{}", START_NS)
    session = home.begin_session(ALICE, None)
    put(home, session, "a")
    yield Scene(store, home, queue, session, clients.invite(BOB, HOME, ("backup",), LATER_NS))
    queue.close()
    store.close()


CHANGES: list[Callable[[Scene], Any]] = [
    lambda scene: scene.store.clients.invite(BOB, HOME, ("restore",), LATER_NS),
    lambda scene: scene.store.clients.enrol(scene.code, digest("bob's")),
    lambda scene: scene.store.clients.rotate(ALICE, digest("another")),
    lambda scene: scene.store.clients.take_over("next"),
    lambda scene: scene.store.clients.revoke(ALICE),
    lambda scene: scene.store.clients.revoke_all(HOME),
    lambda scene: scene.store.settings.set_quota(HOME, 5),
    lambda scene: scene.store.settings.set_alert_after_s(HOME, ALICE, 5),
    lambda scene: scene.store.settings.forget(HOME),
    lambda scene: scene.queue.add([URL], b"{}", START_NS),
    lambda scene: scene.queue.failed(1, LATER_NS),
    lambda scene: scene.queue.done(1),
    lambda scene: scene.queue.keep_only([]),
    lambda scene: scene.home.begin_session(BOB, None),
    lambda scene: scene.home.refer(ALICE, scene.session, [chunk_id("a"), chunk_id("b")], []),
    lambda scene: scene.home.put_times({"collected": START_NS}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_answered_lasts(
    scene: Scene, change: Callable[[Scene], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction, lasting = Database.transaction, list[bool]()

    @contextmanager
    def noted(self: Database, durable: bool) -> Iterator[Any]:
        with transaction(self, durable) as connection:
            before = connection.total_changes
            yield connection
            if connection.total_changes > before:
                lasting.append(durable)

    monkeypatch.setattr(Database, "transaction", noted)
    change(scene)
    assert lasting == [True]
